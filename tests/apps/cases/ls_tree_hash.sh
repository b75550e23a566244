ls -lR /usr | sha256sum
