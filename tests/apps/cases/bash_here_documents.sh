name=world
cat <<END
Hello $name: $((6 * 7))
END
cat <<'END'
Not expanded: $name
END
cat <<-END
	tabs are stripped
	END
tr a-z A-Z <<< "a here string"
while read -r a b; do echo "$b-$a"; done <<END
1 one
2 two
END
# A large here-document goes through a file or a pipe.
big=$(seq 1 50000)
wc -l <<< "$big"
