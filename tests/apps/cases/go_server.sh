# A Go program with 1,000 goroutines, timers, an HTTP server and a child process.
export HOME=/tmp GO111MODULE=off GOFLAGS=-p=2
mkdir /tmp/go && cd /tmp/go && cat >main.go <<'G'
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	var group sync.WaitGroup
	var mutex sync.Mutex
	sum, channel := 0, make(chan int, 10)
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			time.Sleep(time.Duration(i%10) * time.Millisecond)
			mutex.Lock()
			sum += i
			mutex.Unlock()
			channel <- i
		}(i)
	}
	total := 0
	for i := 0; i < 1000; i++ {
		total += <-channel
	}
	group.Wait()
	fmt.Println(sum, total)
	ticker, ticks := time.NewTicker(2*time.Millisecond), 0
	for range ticker.C {
		if ticks++; ticks == 20 {
			break
		}
	}
	fmt.Println("ticks", ticks)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "path %s", r.URL.Path) }))
	for i := 0; i < 20; i++ {
		response, err := http.Get(fmt.Sprintf("http://%s/%d", listener.Addr(), i))
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if i%10 == 0 {
			fmt.Println(response.StatusCode, string(body))
		}
	}
	output, err := exec.Command("sh", "-c", "echo from a child; exit 5").Output()
	fmt.Printf("%s%v\n", output, err)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	defer func() { fmt.Println("recovered:", recover()) }()
	var pointer *int
	fmt.Println(*pointer)
}
G
go build -o program main.go && ./program
