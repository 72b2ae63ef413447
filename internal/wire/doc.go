// Package wire is the outer layer of Kafka's protocol: the table of API keys, request and response headers, the
// check that stands before a request is decoded, and responses made of memory and stretches of files.
//
// A request on the wire, all integers big-endian:
//
//	+--------+---------+-------------+----------------+-----------+---------------+------+
//	| length | api key | api version | correlation id | client id | tagged fields | body |
//	|  int32 |  int16  |    int16    |     int32      | v1, v2    |      v2       |      |
//	+--------+---------+-------------+----------------+-----------+---------------+------+
//
// The length counts what follows it. Which header stands there depends on key and version: v2 where the body is
// flexible (KIP-482), v0 (no client id) for version 0 of the removed ControlledShutdown, v1 otherwise. The client id
// is a nullable string with an int16 length in v2 too.
//
// A response:
//
//	+--------+----------------+---------------+------+
//	| length | correlation id | tagged fields | body |
//	|  int32 |     int32      |      v1       |      |
//	+--------+----------------+---------------+------+
//
// Header v1 stands where the body is flexible, except for ApiVersions: a client that does not know yet which versions
// the node speaks must be able to read that answer, so its header is always v0 (KIP-511).
//
// # What a request may cost
//
// kmsg allocates by the lengths that a request announces, and only checks them against the bytes left, one byte an
// element: a frame of 8 MiB that announces eight million topics costs hundreds of megabytes before it is found to be
// a lie, tagged fields cost more than a hundred times their size, and a count of tags is not checked at all. So Decode
// first walks the body along its shape (shapes.go) without allocating anything, refuses whatever does not fit into
// its own bytes, and adds up what decoding will cost. A request beyond DecodeMax is refused, and API.MaxFrame bounds
// the frame before it is even read.
package wire
