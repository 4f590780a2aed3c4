'use strict'
// The pages of the site, for each framework. A protected page names itself and what
// the framework routed in the body, in a header and in a cookie, so that no part of
// an answer can leak unseen.
// The article without a name is the one that does not exist.
exports.front = 'PUBLIC-PAGE'
exports.account = 'SECRET-ACCOUNT;'
exports.article = (id) => `SECRET-ARTICLE:${encodeURIComponent(Buffer.from(String(id)).toString())};`
exports.headers = { 'X-Origin-Page': 'SECRET-HEADER', 'Set-Cookie': 'page=SECRET-COOKIE' }
