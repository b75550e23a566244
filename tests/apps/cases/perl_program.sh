perl -e '
my %count; open my $f, "<", "/etc/services" or open $f, "<", "/etc/passwd"; while (<$f>) { $count{lc $_}++ for /\w+/g }
print "$_ $count{$_}\n" for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0..9];
my $pid = fork; if (!$pid) { exit 5 } waitpid $pid, 0; print "child ", $? >> 8, "\n";
print join(",", map { sprintf "%.3f", sqrt } 1..5), "\n"; print scalar(`echo from a command`);
local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select undef, undef, undef, 5;
'
