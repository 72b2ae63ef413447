// Package server owns the sockets: it accepts connections, reads frames, hands each request to a Handler and writes
// the answers in the order of the requests. It knows nothing of what a request means.
//
// # Threads
//
// One goroutine reads a connection and runs the handler. A request ends in one of three ways (Outcome): its answer
// is there (Done), the answer comes later and the next request may run (Parked), or the answer comes later and the
// reader waits for it (Hold). The queue of a connection holds its unanswered requests in order. As long as nothing is
// parked, the reader writes each answer itself. With answers parked, whoever completes the head of the queue writes
// the run of answers that is ready, but never waits for the socket: what does not go at once is left to a goroutine
// that lives until the queue is empty or the connection is gone. So completing an answer is safe from any goroutine.
//
// # Bounds
//
//   - A frame is bounded by socket.request.max.bytes and by its API's own limit, both before memory is taken for it;
//     memory grows as bytes arrive, so an announced length alone costs nothing.
//   - Frames and decoded requests of the whole node are counted against two budgets; a reader waits when its budget
//     is used up. Whoever waits for the second holds only of the first, and whoever holds of the second waits for
//     neither, so they cannot wait for each other.
//   - A connection reads on only while it has fewer than ParkedMax unanswered requests and less than AnswerBytesMax
//     of answers waiting.
//   - A client that takes nothing for WriteStall, or stops in the middle of a frame for FrameStall, is cut off.
//   - Connections are bounded in all, per listener and per address, and closed when idle for connections.max.idle.ms.
//
// # Files
//
// An answer holds ranges of files, not their bytes (vfs.Range). Of those of 16 KiB and more the system copies the bytes
// itself, by sendfile with an explicit offset, so any number of connections may send one file; what stands before a range
// is sent with MSG_MORE and leaves in one packet with it. Smaller ranges are read and joined with their neighbours: a copy
// costs less than two calls. So is everything under TLS, and files without a descriptor. A file that is shorter than its
// range ends the connection, for the client has been promised the length.
//
// # Frames
//
// []byte fields of a decoded request alias its frame. Frames of Produce come from a pool and return to it when the call
// is answered or released, so whatever outlives that must be copied. All other frames belong to the garbage collector.
package server
