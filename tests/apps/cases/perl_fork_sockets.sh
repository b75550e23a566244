# Perl forks servers and asks them over TCP and UNIX sockets.
perl <<'PERL'
use strict; use warnings;
use IO::Socket::INET; use IO::Socket::UNIX; use POSIX ":sys_wait_h";

sub serve { my ($server, $requests) = @_;
    for (1 .. $requests) {
        my $client = $server->accept or die "accept: $!";
        while (my $line = <$client>) { chomp $line; last if $line eq "bye"; print $client scalar(reverse $line), "\n"; }
        close $client;
    }
    exit 0;
}
sub ask { my ($make) = @_;
    my @pids;
    for my $n (1 .. 5) {
        my $pid = fork // die;
        if (!$pid) {
            my $socket = $make->() or exit 1;
            $socket->autoflush(1);
            for my $k (1 .. 20) { print $socket "client $n line $k\n"; my $answer = <$socket>; chomp $answer; exit 2 if scalar(reverse $answer) ne "client $n line $k"; }
            print $socket "bye\n";
            exit 10 + $n;
        }
        push @pids, $pid;
    }
    return join " ", map { waitpid $_, 0; $? >> 8 } @pids;
}
my $inet = IO::Socket::INET->new(Listen => 8, LocalAddr => "127.0.0.1", ReuseAddr => 1) or die "listen: $!";
my $port = $inet->sockport;
my $server = fork // die; serve($inet, 5) unless $server;
print "inet: ", ask(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) }), "\n";
waitpid $server, 0; print "server $?\n";
my $local = IO::Socket::UNIX->new(Listen => 8, Local => "/tmp/perl.socket") or die "listen: $!";
$server = fork // die; serve($local, 5) unless $server;
print "unix: ", ask(sub { IO::Socket::UNIX->new(Peer => "/tmp/perl.socket") }), "\n";
waitpid $server, 0; print "server $?\n";
pipe my $r, my $w; my $child = fork // die;
if (!$child) { close $r; print $w "$_\n" for 1 .. 1000; exit 0; }
close $w; my $sum = 0; $sum += $_ while <$r>; waitpid $child, 0; print "sum $sum\n";
PERL
