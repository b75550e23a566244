cd "$(mktemp -d)"
umask 022
echo one > a; echo two >> a; cat a
cp a b; mv b c; ln c d; ln -s c e; ls | tr '\n' ' '; echo
stat -c '%A %h %s %n' a c d e
mkdir -p x/y/z; touch x/y/z/file; find . | sort
chmod 600 a; chmod u+s,g-r c; stat -c %a a c
exec 5<> rw; echo text >&5; exec 5>&-; cat rw
: > empty; test -s empty; echo "empty: $?"
truncate -s 1M big; stat -c %s big; dd if=/dev/zero of=dd bs=4k count=64 status=none; sha256sum dd
rm -rf x; ls x 2>/dev/null || echo gone
set -o noclobber; echo x > a 2>/dev/null || echo refused
mkfifo pipe; cat pipe & echo through >| pipe; wait
flock lock -c 'echo locked'
