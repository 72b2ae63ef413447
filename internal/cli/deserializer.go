package cli

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// deserializer turns bytes into the text that Java's toString gives for the deserialised object.
type deserializer func(b []byte) (string, error)

const serialization = "org.apache.kafka.common.serialization."

// newDeserializer knows Kafka's own classes by their Java names. encoding is the charset of StringDeserializer.
func newDeserializer(class, encoding string) (deserializer, error) {
	name, ok := strings.CutPrefix(class, serialization)
	if !ok {
		return nil, &exception{"java.lang.ClassNotFoundException", class}
	}
	switch name {
	case "StringDeserializer":
		return stringDeserializer(encoding)
	case "ByteArrayDeserializer":
		// Java prints an array's identity ([B@1b2c3d), which tells nobody anything; the bytes do.
		return func(b []byte) (string, error) { return string(b), nil }, nil
	case "ByteBufferDeserializer":
		return func(b []byte) (string, error) {
			return fmt.Sprintf("java.nio.HeapByteBuffer[pos=0 lim=%d cap=%d]", len(b), len(b)), nil
		}, nil
	case "BytesDeserializer":
		return func(b []byte) (string, error) { return printable(b), nil }, nil
	case "IntegerDeserializer":
		return sized(name, 4, func(b []byte) string { return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))) }), nil
	case "LongDeserializer":
		return sized(name, 8, func(b []byte) string { return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10) }), nil
	case "ShortDeserializer":
		return sized(name, 2, func(b []byte) string { return strconv.Itoa(int(int16(binary.BigEndian.Uint16(b)))) }), nil
	case "FloatDeserializer":
		return sized("Deserializer", 4, func(b []byte) string {
			return javaFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 32)
		}), nil
	case "DoubleDeserializer":
		return sized("Deserializer", 8, func(b []byte) string {
			return javaFloat(math.Float64frombits(binary.BigEndian.Uint64(b)), 64)
		}), nil
	case "BooleanDeserializer":
		return booleanDeserializer, nil
	case "UUIDDeserializer":
		return uuidDeserializer, nil
	}
	return nil, &exception{"java.lang.ClassNotFoundException", class}
}

func serializationError(format string, args ...any) error {
	return &exception{"org.apache.kafka.common.errors.SerializationException", fmt.Sprintf(format, args...)}
}

func sized(name string, size int, text func([]byte) string) deserializer {
	return func(b []byte) (string, error) {
		if len(b) != size {
			return "", serializationError("Size of data received by %s is not %d", name, size)
		}
		return text(b), nil
	}
}

func booleanDeserializer(b []byte) (string, error) {
	if len(b) != 1 {
		return "", serializationError("Size of data received by BooleanDeserializer is not 1")
	}
	switch b[0] {
	case 0:
		return "false", nil
	case 1:
		return "true", nil
	}
	return "", serializationError("Unexpected byte received by BooleanDeserializer: %d", int8(b[0]))
}

var uuidText = regexp.MustCompile(`^[0-9a-fA-F]{1,8}-[0-9a-fA-F]{1,4}-[0-9a-fA-F]{1,4}-[0-9a-fA-F]{1,4}-[0-9a-fA-F]{1,12}$`)

// uuidDeserializer reads an id in text and prints it at full width, as UUID.fromString and toString do.
func uuidDeserializer(b []byte) (string, error) {
	if !uuidText.Match(b) {
		return "", serializationError("Error parsing data into UUID")
	}
	parts := strings.Split(strings.ToLower(string(b)), "-")
	for i, width := range []int{8, 4, 4, 4, 12} {
		parts[i] = strings.Repeat("0", width-len(parts[i])) + parts[i]
	}
	return strings.Join(parts, "-"), nil
}

func stringDeserializer(encoding string) (deserializer, error) {
	switch strings.ToUpper(strings.ReplaceAll(encoding, "_", "-")) {
	case "", "UTF-8", "UTF8":
		return func(b []byte) (string, error) { return strings.ToValidUTF8(string(b), "\uFFFD"), nil }, nil
	case "ISO-8859-1", "LATIN1":
		return func(b []byte) (string, error) { return runes(b, 0xFF), nil }, nil
	case "US-ASCII", "ASCII":
		return func(b []byte) (string, error) { return runes(b, 0x7F), nil }, nil
	}
	return nil, serializationError("The encoding %s is not supported here: UTF-8, ISO-8859-1 and US-ASCII are", encoding)
}

// runes reads one character a byte; one above the highest is the replacement character.
func runes(b []byte, highest byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
		if c > highest {
			out[i] = '\uFFFD'
		}
	}
	return string(out)
}

// printable shows bytes as Kafka's Bytes.toString: printable ASCII but the backslash as it is, the rest as \xHH.
func printable(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c >= ' ' && c <= '~' && c != '\\' {
			s.WriteByte(c)
		} else {
			fmt.Fprintf(&s, `\x%02X`, c)
		}
	}
	return s.String()
}

// javaFloat prints as Java's Float.toString and Double.toString: the shortest digits that read back, always with a
// fraction, in scientific notation below a thousandth and from ten million on.
func javaFloat(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, bits)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	digits, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, bits), "e")
	if !strings.Contains(digits, ".") {
		digits += ".0"
	}
	n, _ := strconv.Atoi(exponent) // FormatFloat wrote it
	return digits + "E" + strconv.Itoa(n)
}
