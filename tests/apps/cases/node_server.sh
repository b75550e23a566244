# node: an http server asked from inside, worker threads, child processes, files, timers.
cat >/tmp/server.js <<'JS'
const http = require('http'), { Worker } = require('worker_threads'), cp = require('child_process'), fs = require('fs'), os = require('os'), net = require('net');
const ask = (port, path) => new Promise((good, bad) => http.get({ port, path, host: '127.0.0.1' }, r => { let t = ''; r.on('data', d => t += d); r.on('end', () => good(r.statusCode + ' ' + t)); }).on('error', bad));
const work = n => new Promise((good, bad) => { const w = new Worker('const { parentPort, workerData } = require("worker_threads"); let s = 0; for (let i = 0; i < 1e5; i++) s = (s * 31 + i * workerData) % 1000003; parentPort.postMessage(s);', { eval: true, workerData: n }); w.on('message', good); w.on('error', bad); });
(async () => {
    const server = http.createServer((q, r) => { if (q.url === '/missing') { r.statusCode = 404; r.end('no'); } else r.end('you asked ' + q.url); });
    await new Promise(good => server.listen(0, '127.0.0.1', good));
    const port = server.address().port;
    console.log(await ask(port, '/first'), '|', await ask(port, '/missing'));
    console.log((await Promise.all([...Array(50).keys()].map(i => ask(port, '/n' + i)))).join().length);
    server.close(); server.closeAllConnections && server.closeAllConnections();
    console.log((await Promise.all([1, 2, 3, 4].map(work))).join(' '));
    console.log(cp.execSync('echo from a child; exit 0').toString().trim(), cp.spawnSync('sh', ['-c', 'cat; exit 3'], { input: 'in' }).status);
    const child = cp.fork('/tmp/child.js'); console.log(await new Promise(good => { child.on('message', good); child.send({ n: 20 }); })); child.disconnect();
    fs.writeFileSync('/tmp/node.txt', 'x'.repeat(100000)); console.log(fs.statSync('/tmp/node.txt').size, (await fs.promises.readFile('/tmp/node.txt')).length);
    const watcher = fs.watch('/tmp', (e, name) => { if (name === 'watched') { console.log('watched', e); watcher.close(); done(); } });
    let done; const seen = new Promise(good => done = good); setTimeout(() => fs.writeFileSync('/tmp/watched', ''), 50); await seen;
    const unix = net.createServer(c => c.end('local')); await new Promise(good => unix.listen('/tmp/node.sock', good));
    console.log(await new Promise(good => net.connect('/tmp/node.sock').on('data', d => good(d.toString())))); unix.close();
    process.on('SIGUSR2', () => { console.log('signal'); clearInterval(tick); }); const tick = setInterval(() => {}, 1000); process.kill(process.pid, 'SIGUSR2');
})().catch(e => { console.log(e); process.exit(1); });
JS
echo 'process.on("message", m => { const f = n => n < 2 ? n : f(n - 1) + f(n - 2); process.send(f(m.n)); });' >/tmp/child.js
node /tmp/server.js
