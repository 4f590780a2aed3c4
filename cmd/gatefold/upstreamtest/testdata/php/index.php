<?php
// A front controller as the manual and its readers write them: the path is the path
// info, where the server found one, or that of the requested URI.
function secret(string $page): void {
    header('X-Origin-Page: SECRET-HEADER');
    setcookie('page', 'SECRET-COOKIE');
    echo $page;
}

$path = $_SERVER['PATH_INFO'] ?? '';
if ($path === '') {
    $path = rawurldecode((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
}
$parts = explode('/', trim($path, '/'));
$page = strtolower($parts[0]);
if ($page === 'articles' && ($parts[1] ?? '') !== '') {
    secret('SECRET-ARTICLE:' . rawurlencode($parts[1]) . ';');
} elseif ($page === 'article' && is_string($_GET['article_id'] ?? null) && $_GET['article_id'] !== '') {
    secret('SECRET-ARTICLE:' . rawurlencode($_GET['article_id']) . ';');
} elseif ($page === 'account') {
    secret('SECRET-ACCOUNT;');
} elseif ($page === '' || $page === 'index.php') {
    echo 'PUBLIC-PAGE';
} else {
    http_response_code(404);
    echo 'no such page';
}
