package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	tailRate = 100 << 20 // bytes of records a second
	coldRate = 50 << 20
)

// tailRow lets consumers read what is being written, at 100 MiB/s. What the broker does for the writer is in it.
func tailRow(name, title string, consumers int, goal float64) row {
	p := producing{size: 1 << 10, batch: 64 << 10, acks: 1}
	return row{name, title, []string{"CPU-s/GiB read"}, []float64{goal}, func(ctx context.Context, b *broker, n int64) (f figure, err error) {
		err = withTopic(ctx, b, func(topic string) error {
			rs := p.requests(topic)
			if err := prepare(b, n); err != nil {
				return err
			}
			m, err := begin(b)
			if err != nil {
				return err
			}
			count := n / rs.payload
			err = each(consumers+1, func(i int) error {
				if i > 0 {
					return consume(ctx, b.address, topic, partitions, count*rs.payload)
				}
				_, err := p.paced(ctx, b.address, rs, float64(tailRate)/float64(rs.payload), int(count), nil)
				return err
			})
			if err != nil {
				return err
			}
			cpu, err := m.end(&f)
			f.bytes(cpu, int64(consumers)*count*rs.payload)
			return err
		})
		return f, err
	}}
}

// coldLeg reads from the disk what nobody has in memory, while another topic is written at 50 MiB/s.
func coldLeg(ctx context.Context, b *broker, n int64) (f figure, err error) {
	p := producing{size: 1 << 10, batch: 1<<20 - 1024, acks: 1, clients: 4, window: 2}
	err = withTopic(ctx, b, func(old string) error {
		rs := p.requests(old)
		count := max(n/rs.payload, 1)
		if err := p.send(ctx, b.address, rs, count); err != nil {
			return err
		}
		return withTopic(ctx, b, func(topic string) error {
			syscall.Sync()
			if err := forget(filepath.Join(b.dir, "data"), old); err != nil {
				return err
			}
			w := producing{size: 1 << 10, batch: 16 << 10, acks: 1}
			written := w.requests(topic)
			m, err := begin(b)
			if err != nil {
				return err
			}
			const writingMax = 60 // seconds
			var took []float64
			stop := make(chan struct{})
			var read figure
			err = each(2, func(i int) (err error) {
				if i == 0 {
					perSecond := float64(coldRate) / float64(written.payload)
					took, err = w.paced(ctx, b.address, written, perSecond, int(writingMax*perSecond), stop)
					return err
				}
				defer close(stop)
				err = consume(ctx, b.address, old, partitions, count*rs.payload)
				if err == nil {
					_, err = m.end(&read)
				}
				return err
			})
			if err != nil {
				return err
			}
			_, err = m.end(&f)
			f.Values = []float64{read.Seconds / (float64(count*rs.payload) / (1 << 30)), percentile(took, 99)}
			return err
		})
	})
	return f, err
}

// forget drops a topic's records, which are on the disk, from the machine's memory.
func forget(dir, topic string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(filepath.Base(filepath.Dir(path)), topic+"-") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
