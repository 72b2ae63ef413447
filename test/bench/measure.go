package main

import (
	"errors"
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

// end gives the broker's CPU seconds and adds the rest to a figure, which may be of several rounds.
func (m meter) end(f *figure) (cpu float64, err error) {
	cpu, err = m.b.cpu()
	cpu -= m.cpu
	seconds, own := time.Since(m.at).Seconds(), ownCPU()-m.own
	busy, stolen := machine()
	all := (f.Seconds + seconds) * float64(processors())
	share := func(before, now float64) float64 { return (before*f.Seconds*float64(processors()) + now) / all }
	f.Foreign = share(f.Foreign, max(0, busy-m.busy-own-cpu))
	f.Stolen = share(f.Stolen, stolen-m.stolen)
	f.Seconds += seconds
	f.Client += own
	f.RSS = m.b.rss()
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

// warmMemory fills the page cache and gives it back, so that the page cache of the leg is made of pages that the machine
// below has backed already. On a virtual machine the first touch of a page costs many times the write itself, and who
// runs first would pay for both. A file's pages come from where the leg's will, other memory does not.
func warmMemory(dir string, n int64) error {
	f, err := os.CreateTemp(dir, "ballast-")
	if err != nil {
		return err
	}
	b := make([]byte, 1<<20)
	for ; n > 0 && err == nil; n -= int64(len(b)) {
		_, err = f.Write(b)
	}
	return errors.Join(err, os.Remove(f.Name()), f.Close())
}
