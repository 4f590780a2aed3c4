package visitor

// Country returns the country in the values of a CDN's header, in upper case (ISO 3166-1
// alpha-2). It is empty unless there is one value of two ASCII letters: a
// CDN that does not know the country sends none, or `XX`.
func Country(values []string) string {
	if len(values) != 1 || len(values[0]) != 2 {
		return ""
	}
	var code [2]byte
	for i := range code {
		c := values[0][i] &^ 0x20
		if c < 'A' || c > 'Z' {
			return ""
		}
		code[i] = c
	}
	if code == [2]byte{'X', 'X'} {
		return ""
	}
	return string(code[:])
}
