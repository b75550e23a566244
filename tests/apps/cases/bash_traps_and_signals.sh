trap 'echo got USR1' USR1
kill -USR1 $$
trap 'echo leaving' EXIT
bash -c 'kill -TERM $$; sleep 5'; echo "TERM: $?"
bash -c 'kill -KILL $$'; echo "KILL: $?"
bash -c 'trap "" TERM; kill -TERM $$; echo survived'
timeout 0.2 sleep 5; echo "timeout: $?"
sleep 30 & pid=$!; sleep 0.2; kill $pid; wait $pid 2>/dev/null; echo "killed job: $?"
( trap 'echo child; exit 4' INT; kill -INT $BASHPID; sleep 1 ); echo "child: $?"
sh -c 'ulimit -c 0; kill -SEGV $$'; echo "SEGV: $?"
