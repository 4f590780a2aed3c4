package visitor

import "strings"

// The classes of programs. A class is a part of stored records, and must not be renamed.
const (
	Browser     = "browser"
	App         = "app"
	Preview     = "preview"
	Bot         = "bot"
	FeedReader  = "feed_reader"
	PodcastApp  = "podcast_app"
	CommandLine = "command_line"
	Other       = "other"
)

// Classes returns all classes.
func Classes() []string {
	return []string{Browser, App, Preview, Bot, FeedReader, PodcastApp, CommandLine, Other}
}

// maxAgent bounds the beginning of a User-Agent that is compared, in bytes.
const maxAgent = 512

// classes has substrings of agents in lower case, by class; the first class with one of
// them counts. Podcast apps and feed readers precede bots, because some call
// themselves fetchers, and all precede browsers, whose names many agents contain.
var classes = [...]struct {
	class string
	parts []string
}{
	{PodcastApp, []string{
		"podcast", "overcast", "pocket casts", "pocketcasts", "antennapod", "castro", "castbox", "podbean", "podkicker",
		"itunes/", "downcast", "player fm", "gpodder", "stitcher",
	}},
	{FeedReader, []string{
		"miniflux", "feedly", "feedbin", "feedburner", "feedparser", "feedfetcher", "simplepie", "inoreader", "newsblur", "netnewswire", "freshrss",
		"ttrss", "reeder", "newsboat", "liferea", "thunderbird", "rss", "theoldreader",
	}},
	{Bot, []string{
		"bot/", "bot;", "bot ", "bot)", "-bot", "crawler", "spider", "slurp", "scanner", "safelinks", "proofpoint", "mimecast", "barracuda", "headlesschrome",
		"googleother", "google-extended", "chatgpt", "claude", "perplexity", "ccbot", "monitor", "uptime",
	}},
	{CommandLine, []string{
		"curl/", "wget/", "httpie/", "python-requests", "python-urllib", "aiohttp", "python/", "go-http-client", "java/", "okhttp", "libwww-perl", "ruby",
		"axios", "node-fetch", "undici", "aria2", "powershell", "postmanruntime", "php/", "guzzlehttp",
	}},
	{App, []string{
		"cfnetwork", "dalvik", "fban/", "fbav/", "instagram", "line/", "micromessenger", "; wv)", "snapchat", "pinterest", "linkedinapp",
		"outlook", "teams/", "electron/", "acrobat", "vlc/", "applecoremedia", "exoplayer", "lavf/",
	}},
}

// AgentClass returns the class of a program by its User-Agent. Previews are recognized by
// the gate, since they spend no use.
func AgentClass(agent string) string {
	agent = strings.ToLower(agent[:min(len(agent), maxAgent)])
	for i := range classes {
		for _, part := range classes[i].parts {
			if strings.Contains(agent, part) {
				return classes[i].class
			}
		}
	}
	if strings.HasSuffix(agent, "bot") {
		return Bot
	}
	// As every browser has begun since 1998.
	if strings.HasPrefix(agent, "mozilla/5.0 (") && !strings.Contains(agent, "(compatible") {
		return Browser
	}
	return Other
}
