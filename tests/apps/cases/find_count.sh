find / -xdev | wc -l
find /usr -type f -size +100k | sort | sha256sum
find /usr -type l -printf '%p %l\n' | sort | sha256sum
find /etc -perm /111 -type f | sort
