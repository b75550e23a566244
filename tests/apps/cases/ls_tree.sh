ls -lR /usr
