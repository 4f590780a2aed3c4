package paywall

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/language"
)

//go:embed texts/*.json
var files embed.FS

// Texts are the texts of the page in several languages. They are safe for concurrent use.
type Texts struct {
	languages []*Language // the first is the default
	matcher   language.Matcher
}

// Language has the texts of one language.
type Language struct {
	Tag language.Tag
	// Direction is rtl or ltr.
	Direction string

	texts   map[string]string
	reasons map[string][2]string
}

// languageFile is the form of a language in a file.
type languageFile struct {
	Name    string               `json:"name,omitempty"`
	Texts   map[string]string    `json:"texts"`
	Reasons map[string][2]string `json:"reasons"`
}

const (
	// maxAcceptLanguage bounds what is read of Accept-Language, in bytes.
	maxAcceptLanguage = 256
	// maxOwnLanguages bounds the languages of an operator's file, and maxOwnText one of its
	// texts, in bytes.
	maxOwnLanguages = 40
	maxOwnText      = 1000
	// MaxTextsFile bounds the size of an operator's file, in bytes.
	MaxTextsFile = 256 << 10
)

// builtInOrder has the built-in languages, the default first.
var builtInOrder = []string{"en", "sv", "da", "nb", "de", "fr", "es"}

// BuiltIn returns the texts in English, Swedish, Danish, Norwegian, German, French and
// Spanish.
var BuiltIn = sync.OnceValue(func() *Texts {
	all := make([]*Language, 0, len(builtInOrder))
	for _, name := range builtInOrder {
		raw, err := files.ReadFile("texts/" + name + ".json")
		if err != nil {
			panic(err)
		}
		var file languageFile
		if err := json.Unmarshal(raw, &file); err != nil {
			panic(path.Join("texts", name) + ": " + err.Error())
		}
		all = append(all, newLanguage(language.MustParse(name), file))
	}
	return newTexts(all)
})

func newTexts(all []*Language) *Texts {
	tags := make([]language.Tag, len(all))
	for i, l := range all {
		tags[i] = l.Tag
	}
	return &Texts{all, language.NewMatcher(tags)}
}

func newLanguage(tag language.Tag, file languageFile) *Language {
	l := &Language{Tag: tag, Direction: "ltr", texts: file.Texts, reasons: file.Reasons}
	script, _ := tag.Script()
	switch script.String() {
	case "Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm":
		l.Direction = "rtl"
	}
	return l
}

// With returns the texts with those of an operator's file: JSON with an object for each
// language (BCP 47), which has `texts` and `reasons` as the built-in ones have them. A
// built-in language may be changed in part; another one needs every text. The error names
// what is unknown or missing.
func (t *Texts) With(file []byte) (*Texts, error) {
	if len(file) > MaxTextsFile {
		return nil, fmt.Errorf("is larger than %d KiB", MaxTextsFile>>10)
	}
	var own map[string]languageFile
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&own); err != nil {
		return nil, fmt.Errorf("is not an object of languages, each with texts and reasons: %w", err)
	}
	if len(own) > maxOwnLanguages {
		return nil, fmt.Errorf("has more than %d languages", maxOwnLanguages)
	}
	all, english := slices.Clone(t.languages), t.languages[0]
	for _, name := range slices.Sorted(maps.Keys(own)) {
		tag, err := language.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("%q is not a language tag such as fi or pt-BR", name)
		}
		added := own[name]
		if err := english.check(name, added); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(l *Language) bool { return l.Tag == tag })
		if i < 0 {
			if err := english.complete(name, added); err != nil {
				return nil, err
			}
			all = append(all, newLanguage(tag, added))
			continue
		}
		all[i] = newLanguage(tag, languageFile{Texts: merged(all[i].texts, added.Texts), Reasons: merged(all[i].reasons, added.Reasons)})
	}
	return newTexts(all), nil
}

func merged[V any](base, changes map[string]V) map[string]V {
	all := maps.Clone(base)
	maps.Copy(all, changes)
	return all
}

// check returns an error for a text that the page does not have, or that is too long.
func (l *Language) check(name string, file languageFile) error {
	for key, text := range file.Texts {
		if _, known := l.texts[key]; !known {
			return fmt.Errorf("%s: texts: %q is unknown; known are %s", name, key, strings.Join(slices.Sorted(maps.Keys(l.texts)), ", "))
		}
		if text == "" || len(text) > maxOwnText {
			return fmt.Errorf("%s: texts: %q is empty or longer than %d bytes", name, key, maxOwnText)
		}
	}
	for key, pair := range file.Reasons {
		if _, known := l.reasons[key]; !known {
			return fmt.Errorf("%s: reasons: %q is unknown; known are %s", name, key, strings.Join(slices.Sorted(maps.Keys(l.reasons)), ", "))
		}
		if pair[0] == "" || len(pair[0])+len(pair[1]) > maxOwnText {
			return fmt.Errorf("%s: reasons: %q needs a title and a sentence, at most %d bytes", name, key, maxOwnText)
		}
	}
	return nil
}

// complete returns an error that names the texts that a language lacks.
func (l *Language) complete(name string, file languageFile) error {
	var missing []string
	for _, key := range slices.Sorted(maps.Keys(l.texts)) {
		if _, ok := file.Texts[key]; !ok {
			missing = append(missing, "texts."+key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(l.reasons)) {
		if _, ok := file.Reasons[key]; !ok {
			missing = append(missing, "reasons."+key)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s is a new language and needs every text: it lacks %s", name, strings.Join(missing, ", "))
	}
	return nil
}

// For returns the language that suits the Accept-Language headers of a request best (RFC
// 9110, section 12.5.4), or the default.
func (t *Texts) For(accept []string) *Language {
	if len(accept) == 0 || accept[0] == "" {
		return t.languages[0]
	}
	header := accept[0]
	if len(header) > maxAcceptLanguage {
		header = header[:maxAcceptLanguage]
		header = header[:max(0, strings.LastIndexByte(header, ','))]
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return t.languages[0]
	}
	_, i, confidence := t.matcher.Match(tags...)
	if confidence == language.No {
		return t.languages[0]
	}
	return t.languages[i]
}

// Tags returns the tags of all languages.
func (t *Texts) Tags() []string {
	tags := make([]string, len(t.languages))
	for i, l := range t.languages {
		tags[i] = l.Tag.String()
	}
	return tags
}

// reasonKeys are the reasons whose texts are those of another one: what differs is for the
// operator, not for the reader.
var reasonKeys = map[string]string{
	"link_too_long": "link_invalid", "link_untrusted": "link_invalid", "link_other_site": "link_invalid", "link_not_allowed": "link_invalid",
	"not_found": "no_rule",
	"bad_path":  "bad_address", "bad_query": "bad_address", "bad_request": "bad_address", "bad_method": "bad_address",
	"too_early": "unavailable", "rate_limited": "unavailable", "store_unavailable": "unavailable", "keys_unavailable": "unavailable",
}

// Reason returns the title and the sentence for the code of a reason. It reports false for
// one that is unknown, whose texts are those of a page that cannot be shown.
func (l *Language) Reason(code string) (title, detail string, known bool) {
	if key := reasonKeys[code]; key != "" {
		code = key
	}
	pair, known := l.reasons[code]
	if !known {
		pair = l.reasons["unavailable"]
	}
	return pair[0], pair[1], known
}

// Text returns a text with the values of its placeholders.
func (l *Language) Text(key string, values ...string) string {
	text := l.texts[key]
	for i := 0; i+1 < len(values); i += 2 {
		text = strings.ReplaceAll(text, "{"+values[i]+"}", values[i+1])
	}
	return text
}
