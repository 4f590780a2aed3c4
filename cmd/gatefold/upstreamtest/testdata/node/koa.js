'use strict'
// node koa.js <package> <port>
const [, , name, port] = process.argv
const Koa = require(name)
const Router = require('@koa/router')
const pages = require('./pages')

const send = (ctx, page) => {
  ctx.set(pages.headers)
  ctx.body = page
}
const router = new Router()
router.get('/', (ctx) => { ctx.body = pages.front })
router.get('/articles/:id', (ctx) => send(ctx, pages.article(ctx.params.id)))
router.get('/article', (ctx) => ctx.query.article_id && send(ctx, pages.article(ctx.query.article_id)))
router.get('/account', (ctx) => send(ctx, pages.account))
const app = new Koa()
app.silent = true
app.use(router.routes()).use(router.allowedMethods())
app.listen(Number(port), '127.0.0.1')
