# java -version, and a program with threads, garbage, locks, sockets and a child process.
java -version 2>&1 | sed 1q
mkdir /tmp/java && cd /tmp/java && cat >Main.java <<'J'
import java.io.*; import java.net.*; import java.util.*; import java.util.concurrent.*; import java.util.concurrent.atomic.*;
public class Main {
    static long garbage(int seed) { Map<Integer, byte[]> kept = new HashMap<>(); long sum = 0; Random random = new Random(seed);
        for (int i = 0; i < 20000; i++) { byte[] bytes = new byte[random.nextInt(2000)]; Arrays.fill(bytes, (byte) i); kept.put(i % 300, bytes); sum += bytes.length; } return sum; }
    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8); List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 8; i++) { final int seed = i; results.add(pool.submit(() -> garbage(seed))); }
        long total = 0; for (Future<Long> result : results) total += result.get(); System.out.println(total);
        AtomicLong counter = new AtomicLong(); Object lock = new Object(); long[] plain = {0}; CountDownLatch latch = new CountDownLatch(20);
        for (int t = 0; t < 20; t++) new Thread(() -> { for (int i = 0; i < 5000; i++) { counter.incrementAndGet(); synchronized (lock) { plain[0]++; } } latch.countDown(); }).start();
        latch.await(); System.out.println(counter.get() + " " + plain[0]);
        ServerSocket server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
        Future<String> answer = pool.submit(() -> { try (Socket s = new Socket(server.getInetAddress(), server.getLocalPort())) { s.getOutputStream().write("hello\n".getBytes()); return new BufferedReader(new InputStreamReader(s.getInputStream())).readLine(); } });
        try (Socket s = server.accept()) { String line = new BufferedReader(new InputStreamReader(s.getInputStream())).readLine(); s.getOutputStream().write((line.toUpperCase() + "\n").getBytes()); }
        System.out.println(answer.get());
        Process child = new ProcessBuilder("sh", "-c", "echo child; exit 4").redirectErrorStream(true).start();
        System.out.println(new String(child.getInputStream().readAllBytes()).trim() + " " + child.waitFor());
        pool.shutdown(); System.gc();
        try { Object o = null; o.toString(); } catch (NullPointerException e) { System.out.println("null pointer"); }
        try { recurse(0); } catch (StackOverflowError e) { System.out.println("stack overflow"); }
    }
    static int recurse(int n) { return recurse(n + 1) + 1; }
}
J
javac Main.java && java -Xmx200m -cp . Main && java -Xmx64m -XX:+UseSerialGC -cp . Main | tail -1
