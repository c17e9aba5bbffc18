"""Word lists for the fictitious people: names, places, jobs, and what they like. None of them is anybody."""

from __future__ import annotations

WOMEN = """Alba Anika Beatriz Birgit Carla Celeste Dagny Dalia Edith Elif Esther Fatima Fiona Freya Gloria Greta
Hanna Hilda Imani Ines Iris Jasmin Johanna Kaia Karin Leila Lena Livia Mabel Malin Mira Nadia Nina Noor Olga Orla
Paula Petra Priya Ramona Rosa Ruth Saskia Selma Signe Talia Tessa Tilda Ulla Vera Violet Wanda Xenia Yara Yuki
Zelda Zora""".split()

MEN = """Adil Anton Arno Basil Bjorn Boris Caleb Cyrus Dario Dmitri Eduard Emil Enzo Farid Felix Gideon Goran
Gustav Hamid Henrik Hugo Igor Isaac Ivo Jakob Jonas Kamal Kofi Konrad Lars Leander Luca Magnus Marek Milo Nils
Noel Oskar Otto Pablo Pavel Quentin Rafael Ravi Rufus Samir Silas Stefan Tariq Theo Ulrich Umar Viktor Walter
Yannick Yusuf Zeno""".split()

SURNAMES = """Abara Adler Almeida Amsel Bakker Baltar Benning Berger Bianchi Borg Brandt Calder Castillo Cordero
Czerny Dahl Darwish Dekker Delgado Dorn Eklund Elster Espinoza Falk Farkas Ferrara Fischer Forsberg Galanis Garnier
Gerber Gruber Hadad Halloran Hartwig Hedlund Holm Horvat Ibarra Ivanov Jansky Jensen Juarez Kallio Kaplan Keller
Kimura Kovacs Krause Lachance Laurent Lindqvist Lombardi Lund Maier Malik Marchetti Mendel Mikkola Moreau Nakata
Navarro Novak Nyberg Okafor Olivier Orlov Ostberg Palmer Pereira Petrov Quiroga Rahman Renner Ribeiro Rossi Ruiz
Sandoval Sato Schell Serrano Sokol Stein Sundin Takeda Teller Thorn Toth Urbano Vance Vidal Vogt Wagner Weber
Winther Yilmaz Zapata Ziegler""".split()

CITIES = """Lisbon Oslo Nairobi Quito Hanoi Cairo Dublin Lima Prague Seoul Accra Vienna Bergen Tunis Havana Riga
Dakar Osaka Turin Porto Malaga Gdansk Tbilisi Bogota Ankara Leipzig Geneva Kyoto Perth Halifax Boston Denver Lagos
Manila Jakarta Mumbai Athens Sofia Zagreb Tallinn""".split()

JOBS = """baker carpenter nurse pilot plumber librarian tailor dentist florist translator surveyor welder
beekeeper chemist gardener journalist lawyer mechanic painter potter sailor teacher architect astronomer butcher
chef conductor diver electrician farmer geologist historian jeweller locksmith miner optician pharmacist
photographer violinist weaver""".split()

EMPLOYERS = """Northwind Bluestone Lumen Harbor Redwood Kestrel Solace Verdant Ironbridge Maple Quartz Zephyr
Atlas Beacon Cobalt Driftwood Ember Fjord Granite Horizon Indigo Juniper Lantern Meridian Nimbus Orchard Pinnacle
Ravenna Summit Tundra""".split()

FOODS = """lasagna dumplings pancakes sushi curry goulash ramen paella falafel pierogi tacos risotto chili waffles
noodles gnocchi kebabs omelettes porridge quiche ravioli salad stew tofu hummus kimchi lentils mussels pretzels
sorbet""".split()

HOBBIES = """chess sailing knitting archery pottery birdwatching fencing origami cycling skiing gardening juggling
astronomy calligraphy canoeing dancing fishing hiking karate kiting painting photography puzzles rowing running
singing surfing swimming tennis woodcarving""".split()
