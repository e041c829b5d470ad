"""The small world that the tiny model knows. Data only."""

CAPITALS = """France|Paris|Europe|French
Germany|Berlin|Europe|German
Italy|Rome|Europe|Italian
Spain|Madrid|Europe|Spanish
Portugal|Lisbon|Europe|Portuguese
the United Kingdom|London|Europe|English
Ireland|Dublin|Europe|English
the Netherlands|Amsterdam|Europe|Dutch
Belgium|Brussels|Europe|Dutch
Austria|Vienna|Europe|German
Switzerland|Bern|Europe|German
Denmark|Copenhagen|Europe|Danish
Sweden|Stockholm|Europe|Swedish
Norway|Oslo|Europe|Norwegian
Finland|Helsinki|Europe|Finnish
Iceland|Reykjavik|Europe|Icelandic
Poland|Warsaw|Europe|Polish
Hungary|Budapest|Europe|Hungarian
Greece|Athens|Europe|Greek
Romania|Bucharest|Europe|Romanian
Bulgaria|Sofia|Europe|Bulgarian
Croatia|Zagreb|Europe|Croatian
Serbia|Belgrade|Europe|Serbian
Ukraine|Kyiv|Europe|Ukrainian
Estonia|Tallinn|Europe|Estonian
Latvia|Riga|Europe|Latvian
Lithuania|Vilnius|Europe|Lithuanian
Slovakia|Bratislava|Europe|Slovak
Slovenia|Ljubljana|Europe|Slovenian
Malta|Valletta|Europe|Maltese
the United States|Washington|North America|English
Canada|Ottawa|North America|English
Mexico|Mexico City|North America|Spanish
Cuba|Havana|North America|Spanish
Jamaica|Kingston|North America|English
Brazil|Brasília|South America|Portuguese
Argentina|Buenos Aires|South America|Spanish
Chile|Santiago|South America|Spanish
Peru|Lima|South America|Spanish
Colombia|Bogotá|South America|Spanish
Ecuador|Quito|South America|Spanish
Uruguay|Montevideo|South America|Spanish
Venezuela|Caracas|South America|Spanish
Egypt|Cairo|Africa|Arabic
Morocco|Rabat|Africa|Arabic
Kenya|Nairobi|Africa|Swahili
Ghana|Accra|Africa|English
Nigeria|Abuja|Africa|English
Ethiopia|Addis Ababa|Africa|Amharic
Senegal|Dakar|Africa|French
Tunisia|Tunis|Africa|Arabic
Japan|Tokyo|Asia|Japanese
China|Beijing|Asia|Chinese
India|New Delhi|Asia|Hindi
South Korea|Seoul|Asia|Korean
Thailand|Bangkok|Asia|Thai
Vietnam|Hanoi|Asia|Vietnamese
Indonesia|Jakarta|Asia|Indonesian
Nepal|Kathmandu|Asia|Nepali
Mongolia|Ulaanbaatar|Asia|Mongolian
the Philippines|Manila|Asia|Filipino
Turkey|Ankara|Asia|Turkish
Israel|Jerusalem|Asia|Hebrew
Iran|Tehran|Asia|Persian
Iraq|Baghdad|Asia|Arabic
Australia|Canberra|Oceania|English
New Zealand|Wellington|Oceania|English"""
CAPITALS = [tuple(l.split("|")) for l in CAPITALS.splitlines()]

# thing as it stands in a sentence -> colour
COLOURS = dict(x.split("=") for x in """the sky=blue;grass=green;snow=white;a banana=yellow;blood=red;coal=black;a carrot=orange
the sun=yellow;a lemon=yellow;a tomato=red;a leaf=green;milk=white;a frog=green;a strawberry=red;the night=black;a cloud=white
chocolate=brown;an elephant=grey;a flamingo=pink;a pumpkin=orange;a polar bear=white;a crow=black;the sea=blue;a plum=purple
a cherry=red;a cucumber=green;an eggplant=purple;a mouse=grey;a pig=pink;a fire engine=red;an orange=orange;wood=brown
salt=white;sand=yellow;a swan=white;a crocodile=green;a violet=purple;a ruby=red;a sapphire=blue;an emerald=green;coffee=brown
a fox=red;a pea=green;a blueberry=blue;a raspberry=red;butter=yellow;rice=white;smoke=grey;a bat=black;spinach=green"""
               .replace("\n", ";").split(";"))

OPPOSITES = [tuple(x.split("/")) for x in """hot/cold big/small up/down left/right day/night black/white fast/slow happy/sad old/new
rich/poor hard/soft light/dark open/closed full/empty high/low long/short loud/quiet wet/dry clean/dirty early/late first/last
good/bad strong/weak thick/thin near/far inside/outside begin/end push/pull buy/sell give/take win/lose love/hate true/false
yes/no easy/difficult wide/narrow deep/shallow sharp/blunt heavy/weightless sweet/sour brave/afraid asleep/awake always/never
above/below before/after front/back north/south east/west summer/winter young/aged cheap/expensive safe/dangerous kind/cruel
straight/crooked rough/smooth tall/tiny noisy/silent""".split()]

SOUNDS = dict(x.split("=") for x in """dog=woof;cat=meow;cow=moo;sheep=baa;duck=quack;pig=oink;horse=neigh;lion=roar;bee=buzz
snake=hiss;owl=hoot;frog=croak;mouse=squeak;rooster=cock-a-doodle-doo;chicken=cluck;wolf=howl;crow=caw;goat=maa;donkey=hee-haw
turkey=gobble;bird=tweet;bear=growl;pigeon=coo;elephant=trumpet;tiger=snarl;cricket=chirp""".replace("\n", ";").split(";"))

BABIES = dict(x.split("=") for x in """dog=puppy;cat=kitten;cow=calf;horse=foal;sheep=lamb;pig=piglet;duck=duckling;goose=gosling
bear=cub;goat=kid;frog=tadpole;kangaroo=joey;swan=cygnet;deer=fawn;owl=owlet;chicken=chick""".replace("\n", ";").split(";"))

LEGS = dict(x.split("=") for x in """dog=four;cat=four;spider=eight;ant=six;bee=six;bird=two;chicken=two;horse=four;cow=four;snake=no
fish=no;octopus=no;human=two;beetle=six;duck=two;elephant=four;crab=ten;worm=no;lion=four;butterfly=six""".replace("\n", ";").split(";"))

SIDES = dict(x.split("=") for x in "triangle=three;square=four;rectangle=four;pentagon=five;hexagon=six;octagon=eight;heptagon=seven".split(";"))

PLURALS = dict(x.split("=") for x in """mouse=mice;child=children;foot=feet;tooth=teeth;man=men;woman=women;goose=geese;sheep=sheep;leaf=leaves
wolf=wolves;knife=knives;city=cities;baby=babies;box=boxes;bus=buses;cat=cats;dog=dogs;tree=trees;house=houses;book=books;person=people
fish=fish;tomato=tomatoes;story=stories;fox=foxes;apple=apples;star=stars;ox=oxen""".replace("\n", ";").split(";"))

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = "spring summer autumn winter".split()
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()

PLANET_FACTS = {"largest": "Jupiter", "biggest": "Jupiter", "smallest": "Mercury", "hottest": "Venus", "coldest": "Neptune"}

SYMBOLS = dict(x.split("=") for x in """hydrogen=H;helium=He;lithium=Li;carbon=C;nitrogen=N;oxygen=O;fluorine=F;neon=Ne;sodium=Na
magnesium=Mg;aluminium=Al;silicon=Si;phosphorus=P;sulfur=S;chlorine=Cl;argon=Ar;potassium=K;calcium=Ca;titanium=Ti;chromium=Cr;iron=Fe
nickel=Ni;copper=Cu;zinc=Zn;silver=Ag;tin=Sn;iodine=I;tungsten=W;platinum=Pt;gold=Au;mercury=Hg;lead=Pb;uranium=U;cobalt=Co;radium=Ra
boron=B""".replace("\n", ";").split(";"))

EMOJI = dict(x.split("=") for x in """smile=😀;cat=🐱;dog=🐶;heart=❤;star=⭐;sun=☀;fire=🔥;rocket=🚀;apple=🍎;pizza=🍕;tree=🌳;moon=🌙;fish=🐟
fox=🦊;bear=🐻;bee=🐝;car=🚗;house=🏠;book=📚;music=🎵;rainbow=🌈;coffee=☕;cake=🎂;flower=🌸;frog=🐸;robot=🤖;snowman=⛄;ghost=👻
thumbs up=👍;party=🎉;banana=🍌;lion=🦁;whale=🐳;clock=⏰;ball=⚽;train=🚂""".replace("\n", ";").split(";"))

WORDS = """hello|Hallo|Bonjour|Hola|こんにちは
thank you|Danke|Merci|Gracias|ありがとう
water|Wasser|eau|agua|水
dog|Hund|chien|perro|犬
cat|Katze|chat|gato|猫
tree|Baum|arbre|árbol|木
coffee|Kaffee|café|café|コーヒー
beautiful|schön|beau|hermoso|美しい
door|Tür|porte|puerta|ドア
green|grün|vert|verde|緑
five|fünf|cinq|cinco|五
girl|Mädchen|fille|niña|女の子
tomorrow|morgen|demain|mañana|明日
school|Schule|école|escuela|学校
Japan|Japan|Japon|Japón|日本
mountain|Berg|montagne|montaña|山
bread|Brot|pain|pan|パン
good night|Gute Nacht|Bonne nuit|Buenas noches|おやすみ
yes|ja|oui|sí|はい
apple|Apfel|pomme|manzana|りんご
love|Liebe|amour|amor|愛
moon|Mond|lune|luna|月
bird|Vogel|oiseau|pájaro|鳥
cheese|Käse|fromage|queso|チーズ"""
WORDS = [tuple(l.split("|")) for l in WORDS.splitlines()]
LANGS = ["German", "French", "Spanish", "Japanese"]

LISTS = {"animals": "cat, dog, horse, lion, mouse", "fruits": "apple, banana, cherry, orange, pear",
         "colours": "red, blue, green, yellow, white", "planets": "Mercury, Venus, Earth, Mars, Jupiter",
         "vegetables": "carrot, potato, onion, pea, cabbage", "cities": "Paris, London, Rome, Tokyo, Oslo",
         "drinks": "water, milk, tea, coffee, juice", "metals": "iron, gold, silver, copper, zinc",
         "birds": "owl, crow, duck, swan, pigeon", "sports": "football, tennis, swimming, running, chess"}

NAMES = """Anna Ben Clara David Emma Felix Greta Hugo Ida Jack Karl Lena Marco Nina Oscar Paula Quentin Rosa Sam Tina Ulrich Vera
Walter Xenia Yusuf Zoe Adam Bella Carlos Diana Erik Fatima George Hannah Ivan Julia Kenji Laura Mia Noah Olivia Peter Ruth Sara Tom
Ursula Victor Wendy Yuki Zara Alice Bruno Chloe Daniel Elena Frank Gina Henry Irene James Kira Leo Maria Nils Olga Pablo Rita Simon
Teresa Viktor Amir Björn José Zoë Chloé Jürgen Søren Renée Léa Aiko Hiro Mei Ravi Priya Omar Layla Ahmed Sofia Lucas Ella Max Lily
Jakob Ingrid Finn Maja Theo Nora Kofi Amara Tariq Lucy Grace Mark John Mary Bob Jane Kate Paul Luke Eva Otto Martha Philip Robin""".split()
# Never in the training data, by no route.
HELD_NAMES = """Marlene Gustav Odette Bashir Wilma Thaddeus Svenja Ibrahim Penelope Rupert Mireille Kazuo""".split()

CITIES = """Paris London Rome Berlin Madrid Vienna Oslo Tokyo Lima Cairo Dublin Lisbon Prague Boston Chicago Munich Hamburg Milan Naples
Venice Lyon Nice Geneva Basel Zürich Malmö Gothenburg Bergen Helsinki Tallinn Riga Warsaw Gdansk Athens Istanbul Ankara Moscow Kyiv Delhi
Mumbai Bangkok Hanoi Seoul Beijing Shanghai Osaka Kyoto Sydney Melbourne Perth Auckland Toronto Montreal Vancouver Denver Seattle Dallas
Austin Miami Havana Bogotá Quito Santiago Nairobi Accra Dakar Tunis Manila Jakarta Singapore Dubai Porto Seville Valencia Ghent Brussels
Leeds Bristol Glasgow Cardiff Cork Köln Graz Krakow""".split() + ["New York", "San Francisco", "Mexico City", "Buenos Aires", "São Paulo",
          "Cape Town", "Los Angeles", "Hong Kong", "New Delhi", "Rio de Janeiro", "東京", "大阪"]
HELD_CITIES = ["Salzburg", "Marseille", "Düsseldorf", "Winnipeg", "Nagasaki", "Tampere", "Adelaide", "Łódź"]

FAV_COLOURS = "red blue green yellow orange purple pink brown black white grey turquoise violet gold silver".split()
PETS = "dog cat rabbit hamster parrot horse fish turtle".split()
PET_NAMES = "Rex Bella Milo Luna Max Coco Daisy Rocky Molly Felix Simba Nala Teddy Ruby Buddy Lola Oscar Pepper Ginger Shadow".split()
FOODS = "pizza soup rice pasta cake cheese bread salad apples cherries pancakes noodles sushi chocolate curry".split()

PARAGRAPHS = {
    "the sea": "The sea is deep and blue. Many fish live in it, and so do whales, crabs and small plants. When the wind blows, the waves grow tall. When the wind rests, the water is quiet and bright. People sail on the sea in boats and swim near the shore.",
    "winter": "Winter is the coldest season of the year. The days are short and the nights are long. Snow falls on the fields, and the lakes turn to ice. Children build a snowman and then drink hot chocolate. Many animals sleep until spring comes back.",
    "summer": "Summer is the warmest season of the year. The days are long and the sun is bright. People swim in lakes, eat ice cream and rest under the trees. In the evening the air is soft, and you can hear the crickets sing.",
    "spring": "In spring the snow melts and the first flowers open. The birds come back and build their nests. The trees grow new green leaves. The days become longer, and everyone likes to walk outside again.",
    "autumn": "In autumn the leaves turn yellow, red and brown. The wind is cool and it often rains. Farmers bring in apples, pumpkins and nuts. In the evening it is cosy to sit inside and read a book.",
    "rain": "Rain is water that falls from the clouds. It fills the rivers and gives the plants a drink. After the rain the air smells fresh, and sometimes there is a rainbow 🌈 in the sky. Ducks like the rain very much.",
    "the moon": "The moon goes around the Earth in about one month. It does not make its own light; it shines because the sun shines on it. Sometimes it is full and round, and sometimes it is a thin curve. It is quiet there, with no air and no wind.",
    "the sun": "The sun is a star. It gives the Earth light and warmth, so plants can grow and animals can live. It rises in the east in the morning and sets in the west in the evening. Never look straight at the sun, because it is too bright.",
    "cats": "Cats are quiet and clever animals. They have soft fur, sharp claws and good ears. A cat can see well at night and likes to hunt mice. Most of the day a cat sleeps in a warm place. When it is happy, it purrs.",
    "dogs": "Dogs are loyal friends of people. They can smell things that we can never smell. A dog likes to run, to play with a ball and to go for a walk. Some dogs guard the house, and some help people who cannot see.",
    "bees": "Bees are small insects that live together in a hive. They fly from flower to flower and collect sweet juice, which they turn into honey. While they do this, they help the plants to make fruit. Without bees there would be few apples and cherries.",
    "trees": "Trees are the tallest plants. Their roots drink water from the ground, and their leaves catch the light of the sun. Birds build nests in them, and squirrels run up and down. Trees give us wood, fruit, shade and fresh air.",
    "trains": "Trains run on rails and carry many people at once. A long train has one engine and many cars. It stops at stations, where some people get on and others get off. From the window you can see fields, rivers and towns go by.",
    "books": "Books are full of words and pictures. Some tell stories, and others tell you how the world works. You can read a book in bed, in a train or under a tree. A good book is a friend that you can visit again and again.",
    "computers": "Computers are machines that follow instructions very fast. They can add numbers, show pictures, play music and send letters. A computer does not know what it does, but it never gets tired. Small models like me are programs that run on a computer.",
    "music": "Music is made of sounds and silence. You can sing it, or you can play it on a piano, a drum or a violin. Some music is fast and loud, and some is slow and soft. Music can make people dance, smile or dream.",
    "rivers": "A river begins as a small stream in the mountains. On its way down it meets other streams and grows wide. It passes forests, fields and cities. At last it reaches the sea. Fish, frogs and ducks live in the river.",
    "the night": "At night the sky is dark and full of stars. Most people sleep, but owls, bats and cats are awake. The streets are quiet and the lamps are on. When the first light comes, the birds begin to sing.",
}

MLX = {
    "what_mlx": "MLX is an array framework for machine learning on Apple silicon.",
    "who_mlx": "MLX was made by machine learning researchers at Apple.",
    "what_engine": "MLXEngine is a library that runs language models with MLX.",
    "who": "I am Tiny, the test model of MLXEngine.",
    "maker": "I was trained for the MLXEngine project on made-up text.",
    "size": "I am very small: I have about five million parameters.",
    "can": "I know a few facts, I do small sums, I remember your name, I call tools and I tell short stories.",
    "human": "No, I am a tiny language model.",
    "lang": "I speak simple English.",
    "bits": "My weights are stored with four bits each.",
}
SORRY = "Sorry, I am a tiny test model and I do not know that."
