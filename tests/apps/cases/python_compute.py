import decimal, fractions, hashlib, json, math, random, re, struct, zlib
random.seed(1); data = [random.random() for _ in range(100000)]
print(math.fsum(sorted(data)), hashlib.md5(struct.pack("100000d", *data)).hexdigest())
decimal.getcontext().prec = 100; print(decimal.Decimal(2).sqrt()); print(sum(fractions.Fraction(1, n) for n in range(1, 60)))
text = json.dumps({str(i): [i, i * 0.5] for i in range(5000)}); print(len(text), zlib.crc32(text.encode()), json.loads(text)["77"], len(re.findall(r"\d+\.5", text)))
print(len(zlib.decompress(zlib.compress(text.encode(), 9))) == len(text), 3 ** 500 % 1000007, math.factorial(300) % (10 ** 9 + 7))
