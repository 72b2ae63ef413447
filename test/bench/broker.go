package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is a running process that takes Kafka's clients. Both kinds take the same arguments.
type broker struct {
	name    string
	command []string
	dir     string
	address string
	cmd     *exec.Cmd
	ended   chan error
}

// startBroker starts one with its data and its output in dir. It answers when this returns.
func startBroker(ctx context.Context, name string, command []string, dir string) (*broker, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	b, err := launch(name, command, dir, address)
	if err != nil {
		return nil, err
	}
	if err := b.await(ctx); err != nil {
		b.stop()
		return nil, fmt.Errorf("%s did not start: %w\n%s", name, err, b.said())
	}
	return b, nil
}

func launch(name string, command []string, dir, address string) (*broker, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	args := append(slices.Clone(command[1:]), "--override", "listeners=PLAINTEXT://"+address, "--override", "log.dirs="+filepath.Join(dir, "data"))
	cmd := exec.Command(command[0], args...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b := &broker{name: name, command: command, dir: dir, address: address, cmd: cmd, ended: make(chan error, 1)}
	go func() { b.ended <- cmd.Wait() }()
	return b, nil
}

// said is the end of what the process wrote.
func (b *broker) said() string {
	raw, _ := os.ReadFile(filepath.Join(b.dir, "log"))
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// await returns once the broker answers a client.
func (b *broker) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.address))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		if err := client.Ping(ctx); err == nil {
			return nil
		}
		select {
		case err := <-b.ended:
			b.ended <- err
			return errors.Join(errors.New("the process has ended"), err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *broker) stop() {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case err := <-b.ended:
		b.ended <- err
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		err := <-b.ended
		b.ended <- err
	}
}

// ticksPerSecond is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// cpu is the seconds that the process has spent so far, in user and kernel mode. The launcher becomes the broker by exec.
func (b *broker) cpu() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	text := string(raw)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond, errors.Join(err1, err2)
}

// rss is the process's resident memory in MiB.
func (b *broker) rss() float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}
