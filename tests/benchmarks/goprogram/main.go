// What the benchmarks compare with in Go: a ticker that tells how late it was, and the guide's file
// leak up to its first line.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	_ "net/http/pprof"
	"os"
	"strconv"
	"time"
)

func ticker(rate, seconds float64) {
	period := time.Duration(float64(time.Second) / rate)
	late := []float64{}
	start := time.Now()
	ticks := time.NewTicker(period)
	defer ticks.Stop()
	for now := range ticks.C {
		elapsed := now.Sub(start)
		if elapsed.Seconds() > seconds+period.Seconds()/2 {
			break
		}
		late = append(late, elapsed.Seconds()-float64(len(late)+1)/rate)
	}
	json.NewEncoder(os.Stdout).Encode(late)
}

func start() {
	go http.ListenAndServe("localhost:0", nil)
	entries, _ := os.ReadDir("/proc/self/fd")
	fmt.Printf("[START] Open file descriptors: %d\n", len(entries)-1)
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "ticker" {
		rate, _ := strconv.ParseFloat(os.Args[2], 64)
		seconds, _ := strconv.ParseFloat(os.Args[3], 64)
		ticker(rate, seconds)
		return
	}
	start()
}
