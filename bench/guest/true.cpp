// What fork_exec_wait starts.
int main() { return 0; }
