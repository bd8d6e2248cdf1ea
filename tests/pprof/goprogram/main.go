// A program that leaks in three ways and writes the profiles that its own runtime makes of itself.
package main

import (
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

var kept [][]byte

var begun sync.WaitGroup

func waits(never chan int) {
	begun.Done()
	<-never
}

func sleeps() {
	begun.Done()
	time.Sleep(time.Hour)
}

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
	begun.Add(3)
	for i := 0; i < 3; i++ {
		go waits(never)
	}
	begun.Wait()
	write(os.Args[1]+"/before.pprof", "goroutine")
	begun.Add(10)
	for i := 0; i < 5; i++ {
		go waits(never)
		go sleeps()
	}
	keeps()
	begun.Wait()
	write(os.Args[1]+"/after.pprof", "goroutine")
	runtime.GC() // the profile shows what the last collection found
	write(os.Args[1]+"/heap.pprof", "heap")
}
