package keys

import (
	"strings"
	"testing"
)

// Every byte is classified correctly at every position.
func TestBase64URLOrDotsChecksEveryByte(t *testing.T) {
	for _, size := range []int{8, 9, 15, 16, 17, 22, 23, 24, 31, 32, 33, 63, 255, 256, 257, 263, 272, 273, 511, 512, 530} {
		text := []byte(strings.Repeat("aZ09-_.", size)[:size])
		if !isBase64URLOrDots(string(text)) {
			t.Fatalf("%d digits are refused", size)
		}
		for at := range text {
			was := text[at]
			for c := range 256 {
				text[at] = byte(c)
				if got, want := isBase64URLOrDots(string(text)), base64Value[c] >= 0 || c == '.'; got != want {
					t.Fatalf("byte %#02x at %d of %d: got %v, want %v", c, at, size, got, want)
				}
			}
			text[at] = was
		}
	}
}

// The class of a byte does not depend on its neighbour.
func TestBase64URLOrDotsChecksBytesSeparately(t *testing.T) {
	text := []byte(strings.Repeat("A", 16))
	for one := range 256 {
		for two := range 256 {
			text[3], text[4] = byte(one), byte(two)
			digit := func(c int) bool { return base64Value[c] >= 0 || c == '.' }
			if got, want := isBase64URLOrDots(string(text)), digit(one) && digit(two); got != want {
				t.Fatalf("bytes %#02x %#02x: got %v, want %v", one, two, got, want)
			}
		}
	}
}

// Text that cannot be a token is refused without decoding. The shortest possible
// token is not.
func TestLooksLikeToken(t *testing.T) {
	shortest := token(`{"alg":"a"}`, `{}`)
	shortest = shortest[:strings.LastIndexByte(shortest, '.')] + ".AA"
	if len(shortest) != minTokenSize {
		t.Errorf("the shortest token has %d bytes", len(shortest))
	}
	for _, raw := range []string{shortest, forgeLink(linkPayload()), token("\n\t{\"alg\":\"a\"}\r ", " {}\n"), token("\r"+es256, "\t{}\t")} {
		if _, err := Scan(raw); err != nil || !LooksLikeToken(raw) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for name, raw := range malformedByShape() {
		if LooksLikeToken(raw) {
			t.Errorf("%s looks like a token", name)
		}
	}
	for name, raw := range map[string]string{
		"an array as header": token("["+es256+"]", "{}"), "a text as payload": token(es256, `"{}"`),
		"a payload that does not end": token(es256, `{"a":1`), "a header that does not end": token(`{"alg":"a",`, "{}"),
		"a number": token(es256, "1"), "nothing": token(es256, ""),
	} {
		if LooksLikeToken(raw) {
			t.Errorf("%s looks like a token", name)
		}
	}
}
