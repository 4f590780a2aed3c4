package keys

import (
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
)

// A zero signature verified with every key in CVE-2022-21449.
func TestSignatureOfNumbersOutOfRange(t *testing.T) {
	raw := forgeLink(linkPayload())
	input := raw[:strings.LastIndexByte(raw, '.')]
	r, s := signES256(acmeKey, input)
	zero, one := new(big.Int), big.NewInt(1)
	highest := new(big.Int).Sub(new(big.Int).Lsh(one, 256), one)
	beyond := new(big.Int).Add(order, one)
	for _, number := range []*big.Int{zero, one, order, beyond, highest} {
		for _, signature := range [][2]*big.Int{{number, s}, {r, number}, {number, number}} {
			_, err := verifyAcme(input + "." + encode(rawSignature(signature[0], signature[1])))
			wantError(t, err, ErrSignature)
		}
	}
}

func TestMalformedSignatures(t *testing.T) {
	raw := forgeLink(linkPayload())
	input := raw[:strings.LastIndexByte(raw, '.')]
	r, s := signES256(acmeKey, input)
	signature := rawSignature(r, s)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string][]byte{
		"DER":            der,
		"one byte":       signature[:1],
		"only r":         signature[:32],
		"a byte less":    signature[:63],
		"a byte more":    append(signature[:64:64], 0),
		"a leading zero": append([]byte{0}, signature...),
		"P-384's length": append(make([]byte, 32), signature...),
		"twice":          append(signature[:64:64], signature...),
		"s and r":        rawSignature(s, r),
		"not negated r":  rawSignature(new(big.Int).Sub(order, r), s),
	} {
		if _, err := verifyAcme(input + "." + encode(other)); err == nil {
			t.Errorf("%s was accepted", name)
		} else {
			wantError(t, err, ErrSignature)
		}
	}
}

// Anyone with a token can turn its signature (r, s) into (r, n-s), which verifies
// too. ES256 prefers neither (RFC 7518, section 3.4), so refusing one would refuse
// half of all tokens. Uses and revocations are therefore recorded by issuer and
// jti, never by the text of a token.
func TestBothFormsOfASignatureHaveOneIdentity(t *testing.T) {
	raw := forgeLink(linkPayload())
	input := raw[:strings.LastIndexByte(raw, '.')]
	r, s := signES256(acmeKey, input)
	one, err := verifyAcme(input + "." + encode(rawSignature(r, s)))
	wantError(t, err, nil)
	other, err := verifyAcme(input + "." + encode(rawSignature(r, new(big.Int).Sub(order, s))))
	wantError(t, err, nil)
	if one.ID != "link_1" || !sameJSON(t, one, other) {
		t.Errorf("got %+v and %+v", one, other)
	}
}

func TestSignatureOverOtherBytes(t *testing.T) {
	first, second := forgeLink(linkPayload()), forgeLink(linkPayload().with("jti", `"link_2"`))
	a, b := strings.Split(first, "."), strings.Split(second, ".")
	_, err := verifyAcme(a[0] + "." + a[1] + "." + b[2])
	wantError(t, err, ErrSignature)
	_, err = verifyAcme(a[0] + "." + b[1] + "." + a[2])
	wantError(t, err, ErrSignature)
	header := encode(strings.Replace(linkHeader(acmeKey), `{"alg"`, `{ "alg"`, 1))
	_, err = verifyAcme(header + "." + a[1] + "." + a[2])
	wantError(t, err, ErrSignature)
}

// Changing any digit of a token makes it invalid.
func TestSignatureCoversEveryByte(t *testing.T) {
	raw := forgeLink(linkPayload())
	for i := range len(raw) {
		changed := []byte(raw)
		if changed[i] == 'A' {
			changed[i] = 'B'
		} else {
			changed[i] = 'A'
		}
		if _, err := verifyAcme(string(changed)); err == nil {
			t.Errorf("byte %d can be altered", i)
		}
	}
}
