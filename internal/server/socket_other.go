//go:build !linux

package server

import "syscall"

// Where there is no sendfile with Linux's behaviour, ranges are read and written.
const haveSendfile = false

func sendfile(int, int, int64, int64) (int64, error) { return 0, errNoSendfile }

func send(fd int, b []byte, _ bool) (int, error) { return syscall.Write(fd, b) }
