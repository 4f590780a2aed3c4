<?php
// A stand-in for WordPress: the functions and hooks that the plugin of docs/paywall.md uses,
// and the places where WordPress shows the content of a post.
$posts = json_decode(file_get_contents(__DIR__ . '/articles.json'), true);
$hooks = [];
$running = [];
$post = null;
$queried = null;
$feed = false;

function add_filter(string $name, callable $function, int $priority = 10): void {
    global $hooks;
    $hooks[$name][$priority][] = $function;
}

function add_action(string $name, callable $function, int $priority = 10): void {
    add_filter($name, $function, $priority);
}

function apply_filters(string $name, $value) {
    global $hooks, $running;
    $running[] = $name;
    ksort($hooks[$name]);
    foreach ($hooks[$name] as $functions) {
        foreach ($functions as $function) {
            $value = $function($value);
        }
    }
    array_pop($running);
    return $value;
}

function doing_filter(string $name): bool {
    global $running;
    return in_array($name, $running, true);
}

function get_post(): object {
    global $post;
    return (object) ['post_name' => $post];
}

function get_the_ID(): string {
    global $post;
    return $post;
}

function get_queried_object_id(): ?string {
    global $queried;
    return $queried;
}

function is_singular(string $type): bool {
    global $queried;
    return $queried !== null && $type === 'post';
}

function is_feed(): bool {
    global $feed;
    return $feed;
}

function has_category(string $name): bool {
    global $post, $posts;
    return $name === 'premium' && !$posts[$post]['free'];
}

function content(): string {
    global $post, $posts;
    return apply_filters('the_content', $posts[$post]['lead'] . "\n" . $posts[$post]['text']);
}

// The automatic excerpt is made of the content.
add_filter('get_the_excerpt', fn () => implode(' ', array_slice(preg_split('/\s+/', trim(strip_tags(content()))), 0, 55)));

require __DIR__ . '/wp-content/plugins/gatefold.php';

function title(): string {
    global $post, $posts;
    return $posts[$post]['title'];
}

function each_post(callable $show): string {
    global $post, $posts;
    $all = '';
    foreach (array_keys($posts) as $post) {
        $all .= $show();
    }
    return $all;
}

$path = trim((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/');
$names = explode('/', $path);
if ($names[0] === 'articles' && isset($posts[$names[1] ?? ''])) {
    $queried = $post = $names[1];
    $feed = ($names[2] ?? '') === 'feed';
} elseif ($path === 'feed') {
    $feed = true;
}
if ($queried !== null) {
    apply_filters('template_redirect', '');
}
if ($feed) {
    header('Content-Type: application/rss+xml');
    $item = fn () => '<item><title>' . title() . '</title><content:encoded><![CDATA[' . content() . ']]></content:encoded></item>';
    echo '<rss version="2.0"><channel>', $queried === null ? each_post($item) : $item(), '</channel></rss>';
} elseif ($queried !== null) {
    echo '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>', title(), '</title>',
        '<meta property="og:description" content="', htmlspecialchars(apply_filters('get_the_excerpt', '')), '">',
        '<link rel="alternate" type="application/rss+xml" href="/feed/"><link rel="https://api.w.org/" href="/wp-json/">',
        '</head><body><main><h1>', title(), '</h1>', content(), '</main></body></html>';
} elseif ($path === 'wp-json/wp/v2/posts') {
    header('Content-Type: application/json');
    $data = [];
    each_post(function () use (&$data) {
        $data[] = ['title' => ['rendered' => title()], 'content' => ['rendered' => content()], 'excerpt' => ['rendered' => apply_filters('get_the_excerpt', '')]];
        return '';
    });
    echo json_encode($data);
} elseif ($path === '') {
    echo '<!DOCTYPE html><title>The Acme</title>', each_post(fn () => '<h2>' . title() . '</h2>' . content());
} else {
    http_response_code(404);
}
