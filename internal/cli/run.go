package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Every goroutine, select and timer of this package stands in this file.

// pause waits for d or for the end of ctx, whose error it returns.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lines hands out the lines of a stream that cannot be interrupted, such as a terminal, to a reader that can.
type lines struct {
	from <-chan chunk
	have chunk
}

type chunk struct {
	lines []string
	err   error // after the lines
}

const (
	lineMax  = 256 << 20 // longest line
	chunkMax = 512       // lines handed over at once
)

// readLines starts reading. The goroutine ends with the stream; where its reader stops before, it stays in the stream's
// Read or with the next chunk in its hand until the process ends, which for a tool comes at once.
func readLines(r io.Reader) *lines {
	chunks := make(chan chunk)
	go func() {
		br := bufio.NewReaderSize(r, 64<<10)
		for {
			var c chunk
			for c.err == nil && len(c.lines) < chunkMax {
				var text string
				text, c.err = readLine(br)
				if c.err == nil || text != "" {
					c.lines = append(c.lines, splitReturns(text)...)
				}
				if br.Buffered() == 0 {
					break
				}
			}
			chunks <- c
			if c.err != nil {
				return
			}
		}
	}()
	return &lines{from: chunks}
}

func (l *lines) next(ctx context.Context) (string, error) {
	for len(l.have.lines) == 0 {
		if l.have.err != nil {
			return "", l.have.err
		}
		select {
		case l.have = <-l.from:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	line := l.have.lines[0]
	l.have.lines = l.have.lines[1:]
	return line, nil
}

// readLine returns text up to a newline, which it keeps; the last line may come with io.EOF.
func readLine(br *bufio.Reader) (string, error) {
	var b []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(b)+len(part) > lineMax {
			return "", fmt.Errorf("a line is longer than %d bytes", lineMax)
		}
		if b == nil && err != bufio.ErrBufferFull {
			return string(part), err
		}
		b = append(b, part...)
		if err != bufio.ErrBufferFull {
			return string(b), err
		}
	}
}

// splitReturns ends lines where Java's readLine does: at \n, \r\n and a lone \r.
func splitReturns(text string) []string {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	return strings.Split(text, "\r")
}

// lockedWriter lets a client's goroutines write lines beside the tool's own.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
