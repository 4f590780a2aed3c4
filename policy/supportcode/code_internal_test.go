package supportcode

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A code has eight characters that are read without doubt, and says whether its refusal is
// kept. It is read as people type it.
func TestCode(t *testing.T) {
	seen := map[string]bool{}
	for i := range 20_000 {
		code := newCode(i%2 == 0)
		require.Len(t, code, Size)
		require.Empty(t, strings.Trim(code, alphabet))
		require.False(t, seen[code])
		seen[code] = true
		read, kept, err := Parse(code)
		require.NoError(t, err)
		require.Equal(t, code, read)
		require.Equal(t, i%2 == 0, kept)
		typed := strings.NewReplacer("0", "o", "1", "l").Replace(strings.ToLower(code[:4] + "-" + code[4:] + " "))
		read, _, err = Parse(typed)
		require.NoError(t, err)
		require.Equal(t, code, read)
	}
	for _, text := range []string{"", "7KQ2M4X", "7KQ2M4X99", "7KQ2M4XU", "7KQ2M4X\x00", "ÄÖÜß7KQ2", strings.Repeat("7", 10_000)} {
		_, _, err := Parse(text)
		require.ErrorIs(t, err, ErrForm, "%q", text)
	}
}

// A misheard character, or two that are exchanged, make another reader's code at most once in
// sixteen times: the desk is told to read it again.
func TestTypo(t *testing.T) {
	missed, all := 0, 0
	try := func(digits []byte) {
		all++
		if _, _, err := Parse(string(digits)); err == nil {
			missed++
		}
	}
	for range 200 {
		code := newCode(true)
		for i := range Size {
			for _, other := range []byte(alphabet) {
				if typo := []byte(code); other != typo[i] {
					typo[i] = other
					try(typo)
				}
			}
			if typo := []byte(code); i > 0 && typo[i] != typo[i-1] {
				typo[i], typo[i-1] = typo[i-1], typo[i]
				try(typo)
			}
		}
	}
	require.Less(t, missed*16, all)
}
