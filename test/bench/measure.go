package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// meter says what the machine did between begin and end.
type meter struct {
	b            *broker
	at           time.Time
	cpu, own     float64
	busy, stolen float64
}

func begin(b *broker) (meter, error) {
	cpu, err := b.cpu()
	busy, stolen := machine()
	return meter{b: b, at: time.Now(), cpu: cpu, own: ownCPU(), busy: busy, stolen: stolen}, err
}

// end gives the broker's CPU seconds and fills in the rest of a figure.
func (m meter) end(f *figure) (cpu float64, err error) {
	cpu, err = m.b.cpu()
	cpu -= m.cpu
	f.Seconds = time.Since(m.at).Seconds()
	f.Client = ownCPU() - m.own
	f.RSS = m.b.rss()
	busy, stolen := machine()
	f.Foreign = max(0, busy-m.busy-f.Client-cpu) / f.Seconds / float64(processors())
	f.Stolen = (stolen - m.stolen) / f.Seconds / float64(processors())
	return cpu, err
}

// machine is the seconds that all processors have spent on anything but idling since boot, and those that they would
// have spent had the machine below not been busy with others.
func machine() (busy, stolen float64) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	for i, f := range strings.Fields(first)[1:] {
		n, _ := strconv.ParseFloat(f, 64)
		switch i {
		case 3, 4, 8, 9: // idle, waiting for disks, guests (counted already)
		case 7:
			stolen += n
		default:
			busy += n
		}
	}
	return busy / ticksPerSecond, stolen / ticksPerSecond
}

func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// warmMemory touches memory and gives it back, so that the page cache of the leg is made of pages that the machine below
// has backed already. On a virtual machine the first touch of a page costs many times the write itself, and who runs
// first would pay for both.
func warmMemory(n int64) error {
	b, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return syscall.Munmap(b)
}
