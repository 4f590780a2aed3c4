'use strict'
// node express.js <package> <port>: the package is express or express4.
const [, , name, port] = process.argv
const express = require(name)
const pages = require('./pages')

const app = express()
app.get('/', (req, res) => res.send(pages.front))
app.get('/articles/:id', (req, res) => res.set(pages.headers).send(pages.article(req.params.id)))
app.get('/article', (req, res, next) => req.query.article_id ? res.set(pages.headers).send(pages.article(req.query.article_id)) : next())
app.get('/account', (req, res) => res.set(pages.headers).send(pages.account))
app.listen(port, '127.0.0.1')
