# 50 jobs at once; wait gives the exit code of each.
pids=()
for i in $(seq 1 50); do
    ( sleep 0.0$((i % 10)); exit $((i % 7)) ) &
    pids+=($!)
done
codes=""
for pid in "${pids[@]}"; do wait "$pid"; codes+=" $?"; done
echo "codes:$codes"
wait
echo "none left: $(jobs -p | wc -l)"
for i in $(seq 1 50); do echo "line $i" & done | sort -k2n | sha256sum
