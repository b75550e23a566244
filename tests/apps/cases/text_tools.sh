awk -F: '{ print $1, $3 }' /etc/passwd | column -t 2>/dev/null || awk -F: '{ print $1, $3 }' /etc/passwd
sed -n '/root/,/daemon/p' /etc/passwd
cut -d: -f1,7 /etc/passwd | sort -t: -k2 | head
comm -12 <(seq 1 2 20) <(seq 1 3 20) | paste -sd' '
split -b 1000 /etc/services /tmp/part. 2>/dev/null || split -b 100 /etc/passwd /tmp/part.
ls /tmp/part.* | wc -l
tac /etc/group | head -n 2
od -An -tx1 -N 16 /bin/ls
factor 1234567890123
expr 3 + 4
printf '%05.2f|%-8s|%x\n' 3.14159 ab 255
