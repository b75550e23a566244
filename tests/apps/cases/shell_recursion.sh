fib() { if [ "$1" -lt 2 ]; then echo "$1"; else echo $(( $(fib $(($1 - 1))) + $(fib $(($1 - 2))) )); fi; }
fib 9
dash -c 'f() { [ $1 -eq 0 ] && return 7; f $(($1 - 1)); }; f 500; echo $?'
