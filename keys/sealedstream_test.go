package keys

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

func sealStream(t *testing.T, s *Sealer, content []byte) []byte {
	t.Helper()
	var sealed bytes.Buffer
	w := s.SealStream(&sealed)
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 1+rand.IntN(100_000))
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("more")); err == nil {
		t.Error("it is written to after its end")
	}
	return sealed.Bytes()
}

// A thief of a backup reads nothing of it, and gives nothing back: bytes altered, chunks cut
// off, exchanged, repeated or taken from an older backup, and another secret, are refused.
func TestSealedStream(t *testing.T) {
	root, err := NewSealer([]byte("a secret of the operator"))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := root.For(PurposeBackup)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, sealedChunk - 1, sealedChunk, sealedChunk + 1, 3*sealedChunk + 17} {
		content := bytes.Repeat([]byte("reader ada "), size/11+1)[:size]
		sealed := sealStream(t, sealer, content)
		if size > 11 && bytes.Contains(sealed, []byte("ada")) {
			t.Errorf("%d bytes can be read", size)
		}
		var opened bytes.Buffer
		if err := sealer.OpenStream(&opened, bytes.NewReader(sealed)); err != nil || !bytes.Equal(opened.Bytes(), content) {
			t.Errorf("%d bytes are %d: %v", size, opened.Len(), err)
		}
		if !IsSealedStream(bytes.NewReader(sealed)) || IsSealedStream(bytes.NewReader(content)) {
			t.Errorf("%d bytes: it is not told apart", size)
		}
	}

	content := make([]byte, 3*sealedChunk+17)
	sealed := sealStream(t, sealer, content)
	refused := func(what string, altered []byte, by *Sealer, want error) {
		t.Helper()
		if err := by.OpenStream(io.Discard, bytes.NewReader(altered)); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	other, _ := NewSealer([]byte("a secret of another one"))
	refused("another secret", sealed, other, ErrSealed)
	refused("another purpose", sealed, root, ErrSealed)
	head, chunk := len(sealedMagic)+16, 4+sealedChunk+28
	for _, at := range []int{len(sealedMagic), head, head + 4, head + chunk + 100, len(sealed) - 1} {
		altered := bytes.Clone(sealed)
		altered[at] ^= 1
		if err := sealer.OpenStream(io.Discard, bytes.NewReader(altered)); err == nil {
			t.Errorf("byte %d is altered, and it opens", at)
		}
	}
	refused("an end that is missing", sealed[:head+2*chunk], sealer, io.ErrUnexpectedEOF)
	refused("half a chunk", sealed[:head+chunk+7], sealer, io.ErrUnexpectedEOF)
	refused("half a header", sealed[:head-3], sealer, io.ErrUnexpectedEOF)
	exchanged := bytes.Clone(sealed)
	copy(exchanged[head:], sealed[head+chunk:head+2*chunk])
	refused("a chunk twice", exchanged, sealer, ErrSealed)
	refused("bytes behind the end", append(bytes.Clone(sealed), 0), sealer, ErrSealed)
	marked := bytes.Clone(sealed[:head+chunk])
	marked[head] |= 0x80
	refused("a chunk made the last", marked, sealer, ErrSealed)
	older := sealStream(t, sealer, content)
	copy(older[head:head+chunk], sealed[head:])
	refused("a chunk of another backup", older, sealer, ErrSealed)
	huge := bytes.Clone(sealed)
	huge[head] = 0x7f
	refused("a length of two gigabytes", huge, sealer, ErrSealed)
}
