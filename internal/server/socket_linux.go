package server

import "syscall"

const haveSendfile = true

// sendfile copies from a file to a socket, at most what the socket takes.
func sendfile(to, from int, offset, length int64) (int64, error) {
	n, err := syscall.Sendfile(to, from, &offset, int(min(length, sendfileMax)))
	return int64(n), err
}

// sendfileMax is what one call may ask for: the system's own limit is just below 2 GiB.
const sendfileMax = 1 << 30

// send is write(2); with more the last packet waits for what follows.
func send(fd int, b []byte, more bool) (int, error) {
	if !more {
		return syscall.Write(fd, b)
	}
	return syscall.SendmsgN(fd, b, nil, nil, syscall.MSG_MORE)
}
