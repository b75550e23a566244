# stress-ng's stressors of one class, one after the other, each by two workers with --verify, which share so many seconds (a second each at least). Prints "ok STRESSOR", "skip STRESSOR" (it
# says itself that it, or a part of it, cannot run here) or "FAIL STRESSOR".
class=$1 seconds=$2
# What needs hardware or privileges that a container lacks, or takes all memory of the machine that the chroot is on.
left_out='binderfs|bind-mount|cpu-online|mmapfork|module|resources|smi|watchdog'
mapfile -t stressors < <(stress-ng --class "$class?" 2>&1 | sed -n "s/^class '[^']*' stressors: //p" | tr ' ' '\n' | grep -vxE "$left_out")
each=$((seconds / ${#stressors[@]}))
[ "$each" -ge 1 ] || each=1
cd /tmp || exit 1
for stressor in "${stressors[@]}"; do
    text=$(timeout -k 5 $((each * 6 + 60)) stress-ng --"$stressor" 2 --timeout "$each" --verify --temp-path /tmp 2>&1)
    code=$?
    if grep -qE 'skipped|skipping|No stress workers invoked' <<<"$text"; then
        outcome=skip
    elif [ $code -eq 0 ]; then
        outcome=ok
    else
        outcome=FAIL
    fi
    echo "$outcome $stressor"
    [ $outcome = ok ] || echo "$outcome $stressor (exit code $code): $(grep -E 'fail|error|skip' <<<"$text" | head -3)" >&2
done
