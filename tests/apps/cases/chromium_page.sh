# Chromium without a screen: a page with script, a worker and a canvas; its DOM, a screenshot's size, a PDF. Zygotes, shared memory and many threads are part of it.
cd /tmp && export HOME=/tmp
cat >page.html <<'P'
<canvas id=c width=200 height=200></canvas><script>
let sum = 0; for (let i = 0; i < 2e6; i++) sum += i % 7;
document.getElementById('c').getContext('2d').fillRect(10, 10, 50, 50);
fetch('data:text/plain,fetched').then(r => r.text()).then(text => {
    document.body.append(text + ' ' + sum + ' ');
    const worker = new Worker(URL.createObjectURL(new Blob(['postMessage(6 * 7)'])));
    worker.onmessage = event => document.body.append('worker ' + event.data);
});
</script>
P
browse() { chromium --headless=new --no-sandbox --disable-gpu --no-first-run --window-size=300,200 --virtual-time-budget=5000 "$@" file:///tmp/page.html 2>/tmp/log; }
browse --dump-dom | tail -1
browse --screenshot=/tmp/page.png && python3 -c "import struct; print(struct.unpack('>II', open('/tmp/page.png', 'rb').read(24)[16:]))"
browse --print-to-pdf=/tmp/page.pdf && head -c 5 page.pdf && echo
