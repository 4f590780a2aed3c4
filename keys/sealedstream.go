package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A sealed stream begins with sealedMagic and a random id. Chunks follow, each with its
// length in 4 bytes, whose first bit marks the last one. A chunk is sealed together with
// the id, its number and whether it is the last: chunks cannot be left out, exchanged,
// appended or taken from another stream.
const (
	sealedMagic = "gatefold sealed stream 1\n"
	sealedChunk = 256 << 10 // plaintext of a chunk, in bytes
	// maxSealedChunk bounds what the length of a chunk makes OpenStream read.
	maxSealedChunk = 257 << 10
	lastChunk      = 1 << 31
)

// PurposeBackup is the purpose of the key that backups are sealed with.
const PurposeBackup = "gatefold backup v1"

// For returns a Sealer whose key is derived from the secret for a purpose: what one of them
// sealed, no other opens.
func (s *Sealer) For(purpose string) (*Sealer, error) {
	key, err := s.Derive(purpose)
	if err != nil {
		return nil, err
	}
	return NewSealer(key[:])
}

// SealStream returns a writer that seals what is written to it, in chunks, to w. Close
// writes the last chunk, and does not close w. A stream without it is not opened as a whole.
// Nothing is written before the first chunk is full, or Close.
func (s *Sealer) SealStream(w io.Writer) io.WriteCloser {
	header := make([]byte, len(sealedMagic)+16)
	copy(header, sealedMagic)
	_, _ = rand.Read(header[len(sealedMagic):]) // never fails, see crypto/rand
	return &sealedWriter{w: w, chunks: chunks{sealer: s, header: header}}
}

// chunks numbers the chunks of a stream.
type chunks struct {
	sealer *Sealer
	header []byte
	n      uint64
}

// next returns what the next chunk is sealed with.
func (c *chunks) next(last bool) []byte {
	additional := binary.BigEndian.AppendUint64(bytes.Clone(c.header), c.n)
	c.n++
	if last {
		return append(additional, 1)
	}
	return append(additional, 0)
}

type sealedWriter struct {
	w io.Writer
	chunks
	pending []byte
	err     error
}

func (s *sealedWriter) Write(p []byte) (int, error) {
	written := 0
	for s.err == nil && written < len(p) {
		if len(s.pending) == sealedChunk { // not the last one, as more follows
			s.seal(false)
			continue
		}
		n := min(len(p)-written, sealedChunk-len(s.pending))
		s.pending = append(s.pending, p[written:written+n]...)
		written += n
	}
	return written, s.err
}

func (s *sealedWriter) Close() error {
	if s.err == nil {
		s.seal(true)
	}
	if s.err != nil {
		return s.err
	}
	s.err = errors.New("the sealed stream is complete")
	return nil
}

func (s *sealedWriter) seal(last bool) {
	var out []byte
	if s.n == 0 {
		out = s.header
	}
	sealed := s.sealer.Seal(s.pending, s.next(last))
	length := uint32(len(sealed)) //nolint:gosec // bounded by sealedChunk
	if last {
		length |= lastChunk
	}
	_, s.err = s.w.Write(append(binary.BigEndian.AppendUint32(slices.Clone(out), length), sealed...))
	s.pending = s.pending[:0]
}

// IsSealedStream reports whether a file begins as a sealed stream does.
func IsSealedStream(r io.ReaderAt) bool {
	begin := make([]byte, len(sealedMagic))
	_, err := r.ReadAt(begin, 0)
	return err == nil && string(begin) == sealedMagic
}

// OpenStream writes to w what was sealed to a stream. It returns ErrSealed when the secret
// differs or a chunk was altered, and io.ErrUnexpectedEOF when the stream is truncated: what
// was written until then is authentic, and not complete.
func (s *Sealer) OpenStream(w io.Writer, r io.Reader) error {
	header := make([]byte, len(sealedMagic)+16)
	if _, err := io.ReadFull(r, header); err != nil {
		return unexpected(err)
	}
	if string(header[:len(sealedMagic)]) != sealedMagic {
		return errors.New("not a sealed stream")
	}
	numbers := chunks{sealer: s, header: header}
	for {
		var prefix [4]byte
		if _, err := io.ReadFull(r, prefix[:]); err != nil {
			return unexpected(err)
		}
		length := binary.BigEndian.Uint32(prefix[:])
		last := length&lastChunk != 0
		if length &^= lastChunk; length > maxSealedChunk {
			return fmt.Errorf("chunk %d: %w", numbers.n, ErrSealed)
		}
		sealed := make([]byte, length)
		if _, err := io.ReadFull(r, sealed); err != nil {
			return unexpected(err)
		}
		number := numbers.n
		plain, err := s.Open(sealed, numbers.next(last))
		if err != nil {
			return fmt.Errorf("chunk %d: %w", number, err)
		}
		if _, err := w.Write(plain); err != nil {
			return err
		}
		if !last {
			continue
		}
		if _, err := io.ReadFull(r, prefix[:1]); !errors.Is(err, io.EOF) {
			return fmt.Errorf("bytes behind its end: %w", ErrSealed)
		}
		return nil
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
