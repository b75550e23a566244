# git init, commits, branches, merge, clone, gc, fsck.
set -e
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org HOME=/tmp
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
mkdir /tmp/one && cd /tmp/one && git init -q -b main
for i in 1 2 3 4 5; do
    for j in $(seq 20); do echo "file $j version $i" >f$j; done
    git add -A && git commit -qm "commit $i"
done
git checkout -qb side HEAD~2 && echo side >side && git add side && git commit -qm side && git checkout -q main && git merge -q -m merge side
git log --oneline --graph
git clone -q /tmp/one /tmp/two && cd /tmp/two && git log --format=%H | sha256sum
echo more >>f1 && git diff --stat && git commit -qam more && git push -q origin HEAD:refs/heads/pushed
cd /tmp/one && git gc -q && git fsck --full && git count-objects -v | grep -v size && git branch -a && git status --short | wc -l
git worktree add -q /tmp/three side && ls /tmp/three | wc -l && git stash list | wc -l
