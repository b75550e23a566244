# nginx with two workers and a client inside; reload and quit by signals.
mkdir -p /tmp/nginx/html && cd /tmp/nginx && for i in 1 2 3; do head -c $((i * 100000)) /dev/zero | tr '\0' "$i" >html/$i; done
cat >conf <<'C'
worker_processes 2; pid /tmp/nginx/pid; error_log /tmp/nginx/error.log; user root;
events { worker_connections 64; }
http { access_log off; sendfile on; client_body_temp_path /tmp/nginx/b; proxy_temp_path /tmp/nginx/p; fastcgi_temp_path /tmp/nginx/f; uwsgi_temp_path /tmp/nginx/u; scgi_temp_path /tmp/nginx/s;
  server { listen 127.0.0.1:8099; listen unix:/tmp/nginx/socket; root /tmp/nginx/html; location /hello { return 200 "hello\n"; } location /proxy/ { proxy_pass http://unix:/tmp/nginx/socket:/; } } }
C
nginx -c /tmp/nginx/conf -e /tmp/nginx/error.log
for i in $(seq 100); do [ -s pid ] && break; sleep 0.1; done
cat >client.py <<'P'
import hashlib, threading, urllib.request
def get(path):
    with urllib.request.urlopen("http://127.0.0.1:8099" + path, timeout=60) as answer:
        body = answer.read()
        return f"{answer.status} {len(body)} {hashlib.sha256(body).hexdigest()[:16]}"
print(get("/hello"), get("/1"), get("/2"), get("/proxy/3"), sep="\n")
results = []
threads = [threading.Thread(target=lambda i=i: results.append(get(f"/{i % 3 + 1}"))) for i in range(30)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(results), len(set(results)))
P
python3 client.py
kill -HUP $(cat pid); sleep 1; python3 client.py | head -1
kill -QUIT $(cat pid); for i in $(seq 100); do [ -e pid ] || break; sleep 0.1; done; [ -e pid ] || echo ended
