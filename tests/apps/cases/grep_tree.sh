grep -r import /usr/lib/python3* --include=*.py | wc -l
grep -rl 'def __init__' /usr/lib/python3* | sort | sha256sum
grep -c '' /etc/passwd
