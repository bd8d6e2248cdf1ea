// A program that leaks in three ways and writes the profiles that its own runtime makes of itself.
package main

import (
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

var kept [][]byte

func waits(never chan int) { <-never }

func sleeps() { time.Sleep(time.Hour) }

func keeps() {
	for i := 0; i < 64; i++ {
		kept = append(kept, make([]byte, 1<<16))
	}
}

func write(path, profile string) {
	file, err := os.Create(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	if err := pprof.Lookup(profile).WriteTo(file, 0); err != nil {
		panic(err)
	}
}

func main() {
	runtime.MemProfileRate = 1
	never := make(chan int)
	for i := 0; i < 3; i++ {
		go waits(never)
	}
	time.Sleep(20 * time.Millisecond)
	write(os.Args[1]+"/before.pprof", "goroutine")
	for i := 0; i < 5; i++ {
		go waits(never)
		go sleeps()
	}
	keeps()
	time.Sleep(20 * time.Millisecond)
	write(os.Args[1]+"/after.pprof", "goroutine")
	runtime.GC() // the profile shows what the last collection found
	write(os.Args[1]+"/heap.pprof", "heap")
}
