# Ruby: threads, fork, pipes, sockets, a child process, files.
cat >/tmp/program.rb <<'P'
require "socket"; require "json"; require "tempfile"; require "timeout"; require "etc"
p 10.times.map { |i| Thread.new { (0...10000).sum { |j| j * i } } }.map(&:value)
pid = fork { exit 3 }; Process.wait pid; p $?.exitstatus
reader, writer = IO.pipe
child = fork { reader.close; writer.puts "from the child"; exit! }
writer.close; puts reader.read; Process.wait child
server = TCPServer.new("127.0.0.1", 0)
echo = Thread.new { c = server.accept; c.puts c.gets.upcase; c.close }
client = TCPSocket.new("127.0.0.1", server.addr[1]); client.puts "hello"; puts client.gets; echo.join
a, b = UNIXSocket.pair; a.send_io($stdout); b.recv_io.puts "a descriptor passed"; $stdout.flush
puts JSON.generate({"a" => [1, 2.5, nil]}), `echo of a shell`
Tempfile.create { |f| f.write("x" * 100_000); f.flush; p File.size(f.path), f.flock(File::LOCK_EX) }
begin; Timeout.timeout(0.2) { sleep }; rescue Timeout::Error; puts "timed out"; end
trap("USR1") { puts "signal" }; Process.kill("USR1", Process.pid); sleep 0.1
p Process.clock_gettime(Process::CLOCK_MONOTONIC) > 0, Etc.getpwuid.name, Process.getpgrp == Process.pid || Process.ppid > 0
GC.start; p GC.count > 0
P
ruby /tmp/program.rb
