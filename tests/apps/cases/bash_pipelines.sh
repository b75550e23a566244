# Pipelines, exit codes of their parts, command and process substitution.
seq 1 10000 | grep 7 | sed 's/7/x/g' | awk '{ n += length($0) } END { print NR, n }'
printf '%s\n' banana apple cherry | sort | tr a-z A-Z | paste -sd, -
false | true | (exit 3)
echo "${PIPESTATUS[@]}"
set -o pipefail
true | false | true; echo "pipefail: $?"
diff <(seq 1 5) <(seq 2 6)
echo "nested: $(echo "$(echo "$(echo deep)")")"
yes | head -n 100000 | wc -lc
