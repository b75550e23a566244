dpkg -l
dpkg -L coreutils | sha256sum
dpkg-query -W -f '${Package} ${Version}\n' | tail -n 3
dpkg -S /bin/ls
