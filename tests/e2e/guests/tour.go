// A tour of what Go's own runtime and standard library ask of WASI: output, files, directories,
// maps, goroutines and channels, timers, randomness, panics and exit codes.
//
//	tour MODE [ARG...]
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	modes := map[string]func([]string) error{
		"hello":  hello,
		"words":  words,
		"files":  files,
		"primes": primes,
		"timers": timers,
		"random": random,
		"exit":   func([]string) error { os.Exit(7); return nil },
		"panic":  func([]string) error { panic("the tour ends here") },
		"nil":    func([]string) error { var p *int; *p = 1; return nil },
		"lock":   func([]string) error { var c chan int; <-c; return nil },
	}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "tour: no such mode")
		os.Exit(2)
	}
	if err := modes[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

func hello(args []string) error {
	fmt.Println("hello from", filepath.Base(os.Args[0]), len(args), strings.Join(args, ","))
	fmt.Fprintln(os.Stderr, "and to standard error")
	for _, name := range []string{"GREETING", "MISSING"} {
		value, set := os.LookupEnv(name)
		fmt.Printf("%s %q %t\n", name, value, set)
	}
	return nil
}

// Counts the words of standard input.
func words([]string) error {
	counts := map[string]int{}
	in := bufio.NewScanner(os.Stdin)
	in.Split(bufio.ScanWords)
	for in.Scan() {
		counts[strings.ToLower(in.Text())]++
	}
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		fmt.Println(counts[name], name)
	}
	return in.Err()
}

// Writes, reads, appends, renames, walks and removes below the directory it is given.
func files(args []string) error {
	root := args[0]
	if err := os.MkdirAll(filepath.Join(root, "a", "b"), 0o755); err != nil {
		return err
	}
	name := filepath.Join(root, "a", "b", "lines.txt")
	if err := os.WriteFile(name, []byte("one\ntwo\n"), 0o644); err != nil {
		return err
	}
	more, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	fmt.Fprintln(more, "three")
	if err := more.Close(); err != nil {
		return err
	}
	if err := os.Rename(name, filepath.Join(root, "moved.txt")); err != nil {
		return err
	}
	moved, err := os.Open(filepath.Join(root, "moved.txt"))
	if err != nil {
		return err
	}
	if _, err := moved.Seek(-6, io.SeekEnd); err != nil {
		return err
	}
	last, err := io.ReadAll(moved)
	if err != nil {
		return err
	}
	fmt.Printf("last line %q\n", last)
	if err := moved.Close(); err != nil {
		return err
	}
	when := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "moved.txt"), when, when); err != nil {
		return err
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			fmt.Println(path, "dir")
		} else {
			fmt.Println(path, info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(root, "a", "b", "lines.txt"))
	fmt.Println("gone:", errors.Is(err, fs.ErrNotExist))
	_, err = os.OpenFile(filepath.Join(root, "moved.txt"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	fmt.Println("there:", errors.Is(err, fs.ErrExist))
	fmt.Println("not empty:", os.Remove(filepath.Join(root, "a")) != nil)
	_, err = os.ReadDir(filepath.Join(root, "moved.txt"))
	fmt.Println("no directory:", err != nil)
	return os.RemoveAll(filepath.Join(root, "a"))
}

// A sieve of goroutines, each a filter between two channels.
func primes([]string) error {
	numbers := make(chan int)
	go func() {
		for n := 2; ; n++ {
			numbers <- n
		}
	}()
	in := numbers
	for range 60 {
		prime := <-in
		fmt.Print(prime, " ")
		out := make(chan int)
		go func(in, out chan int) {
			for n := range in {
				if n%prime != 0 {
					out <- n
				}
			}
		}(in, out)
		in = out
	}
	fmt.Println()
	return nil
}

// Sleepers wake in order of their times, whichever began first.
func timers([]string) error {
	begun := time.Now()
	var order []int
	var lock sync.Mutex
	var all sync.WaitGroup
	for _, n := range []int{3, 1, 2} {
		all.Add(1)
		go func() {
			defer all.Done()
			time.Sleep(time.Duration(n) * 20 * time.Millisecond)
			lock.Lock()
			order = append(order, n)
			lock.Unlock()
		}()
	}
	all.Wait()
	took := time.Since(begun)
	fmt.Println(order, took >= 60*time.Millisecond, took < 30*time.Second)
	select {
	case <-time.After(time.Millisecond):
		fmt.Println("timeout")
	case <-make(chan int):
	}
	fmt.Println("this century:", time.Now().Year() >= 2000 && time.Now().Year() < 2100)
	return nil
}

// Two draws of 128 bits are not the same.
func random([]string) error {
	a, b := [2]uint64{rand.Uint64(), rand.Uint64()}, [2]uint64{rand.Uint64(), rand.Uint64()}
	fmt.Println("different:", a != b)
	return nil
}
