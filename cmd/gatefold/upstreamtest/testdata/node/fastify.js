'use strict'
// node fastify.js <package> <port>
const [, , name, port] = process.argv
const app = require(name)()
const pages = require('./pages')

app.get('/', async () => pages.front)
const article = (reply, id) => id ? reply.headers(pages.headers).send(pages.article(id)) : reply.callNotFound()
app.get('/articles/:id', async (request, reply) => article(reply, request.params.id))
app.get('/article', async (request, reply) => article(reply, request.query.article_id))
app.get('/account', async (request, reply) => reply.headers(pages.headers).send(pages.account))
app.listen({ port: Number(port), host: '127.0.0.1' })
