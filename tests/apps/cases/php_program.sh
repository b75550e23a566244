# PHP: streams, processes, files; its built-in web server with a client.
cat >/tmp/program.php <<'P'
<?php
echo array_sum(range(1, 1000)), "\n";
$process = proc_open("tr a-z A-Z", [["pipe", "r"], ["pipe", "w"]], $pipes);
fwrite($pipes[0], "hello\n"); fclose($pipes[0]); echo stream_get_contents($pipes[1]); echo proc_close($process), "\n";
$server = stream_socket_server("tcp://127.0.0.1:0");
$client = stream_socket_client("tcp://" . stream_socket_get_name($server, false));
$accepted = stream_socket_accept($server); fwrite($client, "line\n"); echo fgets($accepted);
$read = [$accepted]; $none = null; echo stream_select($read, $none, $none, 0, 100000), "\n";
file_put_contents("/tmp/file", str_repeat("abc", 10000)); echo md5_file("/tmp/file"), " ", filesize("/tmp/file"), "\n";
echo json_encode(["a" => [1, 2]]), shell_exec("echo shell");
P
php /tmp/program.php
mkdir -p /tmp/www && echo '<?php echo strrev($_GET["text"]), "\n";' >/tmp/www/reverse.php
php -S 127.0.0.1:8123 -t /tmp/www >/dev/null 2>&1 & server=$!
for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/8123) 2>/dev/null && break; sleep 0.1; done
php -r 'for ($i = 0; $i < 20; $i++) $last = file_get_contents("http://127.0.0.1:8123/reverse.php?text=abc$i"); echo $last;'
kill $server; wait $server 2>/dev/null; echo ended
